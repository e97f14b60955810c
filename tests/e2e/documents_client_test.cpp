// The documents' own TypeScript client, unchanged, against this server: what indexers already have must work.
#include "events.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

namespace sluice::e2e {
namespace {

// The client posts to port 8000. A loopback address of this process's own keeps that port free for it.
std::string own_loopback_address()
{
    auto const pid = static_cast<unsigned>(getpid());
    return "127." + std::to_string(1 + (pid >> 16) % 254) + "." + std::to_string((pid >> 8) & 255) + "." +
           std::to_string(1 + (pid & 255) % 254);
}

Finished run_indexer(std::string const& address, std::string const& key, Json const& relationship)
{
    return run(
        {"node", source_directory() / "tests/e2e/run_indexer.js", address, relationship.dump()},
        // Where Debian keeps its packages; other builds of Node do not look there.
        {{"NODE_PATH", "/usr/share/nodejs:/usr/lib/nodejs"}, {"INTERNAL_API_KEY", key}, {"no_proxy", "*"}});
}

Json indexed_relationship()
{
    auto const payload = relationship(1, 2, 7, 80).at("payload");
    return {
        {"uri", payload.at("uri")}, {"cid", payload.at("cid")}, {"participants", payload.at("participants")},
        {"type", "professional"}, {"strength", 80}, {"context", "Built a bridge together"},
        {"createdAt", "2025-12-01T09:30:00.000Z"}, {"did", did(1)}};
}

class DocumentsClient : public testing::Test {
protected:
    TemporaryDirectory directory_;
    std::string        address_ = own_loopback_address();
    Server             server_{{.data = directory_.path() / "data", .listen = address_ + ":8000",
                                .flags = {"--http-hosts", "python-api"}, .key_file = false}};
};

TEST_F(DocumentsClient, ItsRelationshipIsAcceptedAndCanBeRead)
{
    auto const sent = indexed_relationship();

    auto const done = run_indexer(address_, Server::key(), sent);
    ASSERT_EQ(done.code, 0) << done.error;

    auto http = server_.http();
    settled_state(http);
    auto const found = http.get("/v1/relationships?uri=" + percent_encoded(sent.at("uri").get<std::string>()));
    ASSERT_EQ(found.status, 200) << found.body;
    auto const stored = found.json().at("relationship");
    EXPECT_EQ(stored.at("uri"), sent.at("uri"));
    EXPECT_EQ(stored.at("cid"), sent.at("cid"));
    EXPECT_EQ(stored.at("did"), did(1));
    EXPECT_EQ(stored.at("participants"), sent.at("participants"));
    EXPECT_EQ(stored.at("type"), "professional");
    EXPECT_EQ(stored.at("strength"), 80);
    EXPECT_EQ(stored.at("context"), "Built a bridge together");
    EXPECT_EQ(stored.at("created_at"), "2025-12-01T09:30:00.000000Z");
}

TEST_F(DocumentsClient, ItsWrongKeyIsAnErrorWithADetail)
{
    auto const done = run_indexer(address_, "not-the-key-of-this-server", indexed_relationship());

    EXPECT_EQ(done.code, 1);
    EXPECT_EQ(Json::parse(done.error).at("status"), 403) << done.error;
    auto http = server_.http();
    EXPECT_EQ(state(http).at("accepted"), 0);
}

}  // namespace
}  // namespace sluice::e2e
