// The server with its cache in a real Redis.
#include "events.hpp"

#include "servers/redis_server.hpp"

#include <gtest/gtest.h>

namespace sluice::e2e {
namespace {

constexpr char const* when = "at=2026-06-01T00:00:00Z";

class WithRedis : public testing::Test {
protected:
    WithRedis() { start({{"REDIS_URL", redis_.url()}}); }

    void start(Environment environment)
    {
        http_.reset();
        server_.reset();
        server_ = std::make_unique<Server>(
            ServerOptions{.data = directory_.path() / "data", .environment = std::move(environment)});
        http_ = std::make_unique<Http>(server_->http());
    }
    Json get(std::string const& target)
    {
        auto const response = http_->get(target);
        EXPECT_EQ(response.status, 200) << target << ' ' << response.body;
        return response.json();
    }
    Json cache() { return get("/internal/cache"); }
    bool uses(std::string const& backend)
    {
        return eventually([&] { return cache().at("backend") == backend; });
    }
    void relate(std::uint64_t owner, std::uint64_t other, std::uint64_t n, int strength, std::uint64_t rev)
    {
        auto const response = http_->post("/internal/events", relationship(owner, other, n, strength, rev).dump());
        ASSERT_EQ(response.status, 202) << response.body;
        settled_state(*http_);
    }
    std::string neighbors(std::uint64_t of) { return "/v1/graph/neighbors?" + std::string(when) + "&did=" + did(of); }
    std::string metrics() { return http_->get("/metrics").body; }
    std::string log() { return read_file(directory_.path() / "data.log"); }
    Finished sluice(std::vector<std::string> arguments)
    {
        arguments.insert(arguments.begin(), binary());
        auto const key = key_file(directory_.path() / "data");
        arguments.insert(arguments.end(), {"--url", server_->url(), "--key-file", key});
        return run(arguments);
    }

    test::RedisServer       redis_{{.password = "s3cret-of-redis"}};
    TemporaryDirectory      directory_;
    std::unique_ptr<Server> server_;
    std::unique_ptr<Http>   http_;
};

TEST_F(WithRedis, AnswersAreKeptThereWhileTheyAreTrue)
{
    ASSERT_TRUE(uses("redis"));
    relate(1, 2, 3, 80, 10);
    auto const first = get(neighbors(1));
    EXPECT_EQ(get(neighbors(1)), first);
    EXPECT_EQ(cache().at("stats").at("hits"), 1);
    EXPECT_NE(redis_.exec({"KEYS", "sluice:default:*:graph:neighbors:" + did(1) + ":*"}), "");
    relate(5, 1, 3, 80, 11);
    EXPECT_EQ(get(neighbors(1)).at("neighbors").size(), 2u);
    EXPECT_EQ(cache().at("stats").at("hits"), 1);
    EXPECT_EQ(log().find("s3cret"), std::string::npos);
}

TEST_F(WithRedis, AnotherStartAsksForNothingOfTheOneBefore)
{
    ASSERT_TRUE(uses("redis"));
    relate(1, 2, 3, 80, 10);
    auto const first = get(neighbors(1));
    EXPECT_EQ(server_->stop(), 0);
    start({{"REDIS_URL", redis_.url()}});
    ASSERT_TRUE(uses("redis"));
    EXPECT_EQ(get(neighbors(1)), first);
    EXPECT_EQ(cache().at("stats").at("hits"), 0);
}

TEST_F(WithRedis, ItsLossIsToldAndNoRequestFails)
{
    ASSERT_TRUE(uses("redis"));
    relate(1, 2, 3, 80, 10);
    auto const first = get(neighbors(1));
    redis_.kill_9();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(get(neighbors(1)), first);
    auto const away = cache();
    EXPECT_EQ(away.at("backend"), "memory");
    EXPECT_EQ(away.at("status"), "degraded");
    EXPECT_EQ(away.at("has_fallback"), true);
    EXPECT_TRUE(away.at("fallback_since").is_string());
    EXPECT_GE(away.at("stats").at("hits"), 1) << "memory keeps them meanwhile";
    auto const detailed = get("/health/detailed");
    EXPECT_EQ(detailed.at("status"), "degraded");
    EXPECT_EQ(detailed.at("dependencies").at("cache").at("status"), "degraded");
    auto const ready = get("/health/ready");
    EXPECT_EQ(ready.at("status"), "ready") << "nobody has to send requests elsewhere";
    EXPECT_EQ(ready.at("checks").at("cache"), "degraded");
    EXPECT_NE(metrics().find("\nsluice_cache_fallback_active 1\n"), std::string::npos);
    EXPECT_NE(metrics().find("\nsluice_cache_backend{backend=\"memory\"} 1\n"), std::string::npos);

    redis_.start();
    ASSERT_TRUE(uses("redis"));
    EXPECT_EQ(get(neighbors(1)), first);
    EXPECT_EQ(get("/health/detailed").at("status"), "healthy");
    EXPECT_NE(metrics().find("\nsluice_cache_fallback_active 0\n"), std::string::npos);
    EXPECT_TRUE(eventually([&] { return log().find("cache restored") != std::string::npos; }));
    EXPECT_NE(log().find("cache fallback"), std::string::npos);
}

TEST_F(WithRedis, AWrongPasswordOnlyMeansMemory)
{
    start({{"REDIS_URL", "redis://:wrong@127.0.0.1:" + std::to_string(redis_.port())}});
    relate(1, 2, 3, 80, 10);
    EXPECT_EQ(get(neighbors(1)), get(neighbors(1)));
    EXPECT_TRUE(eventually([&] { return cache().at("fallback_since").is_string(); }));
    EXPECT_TRUE(cache().at("last_error").get<std::string>().starts_with("WRONGPASS"));
}

TEST_F(WithRedis, OperatorsClearAnswersByPattern)
{
    ASSERT_TRUE(uses("redis"));
    relate(1, 2, 3, 80, 10);
    get(neighbors(1));
    get(neighbors(2));
    get("/v1/conviction?" + std::string(when) + "&uri=" + percent_encoded(relationship_uri(did(1), 3)));
    auto const clear = [&](Json const& body, int status) {
        auto const response = http_->post("/internal/cache/clear", body.dump());
        EXPECT_EQ(response.status, status) << response.body;
        return response.json();
    };
    EXPECT_EQ(clear({{"pattern", "graph:neighbors:" + did(1) + "*"}}, 200), (Json{{"removed", 1}}));
    EXPECT_EQ(clear({{"pattern", "graph:?"}}, 200), (Json{{"removed", 0}}));
    EXPECT_EQ(sluice({"cache", "clear", "conviction:*"}).output, "1 removed\n");
    EXPECT_EQ(Json::parse(sluice({"cache", "clear", "*", "--json"}).output), (Json{{"removed", 1}}));
    EXPECT_NE(log().find("cache cleared by=default pattern=\"conviction:*\" removed=1"), std::string::npos);
    EXPECT_EQ(Json::parse(sluice({"cache", "show", "--json"}).output).at("backend"), "redis");
    EXPECT_NE(sluice({"cache", "show"}).output.find("total_keys"), std::string::npos);
    for (auto const& wrong : {Json::object(), Json{{"pattern", ""}}, Json{{"pattern", 1}},
                              Json{{"pattern", "a*b*c*d*e*"}}, Json{{"pattern", "*"}, {"more", 1}}})
        clear(wrong, 422);
    get(neighbors(1));
    get(neighbors(1));
    EXPECT_EQ(cache().at("stats").at("hits"), 1) << "what was cleared was computed again, and kept";
    redis_.kill_9();
    get(neighbors(1));
    EXPECT_EQ(clear({{"pattern", "*"}}, 503).at("error"), "cache_unavailable");
}

}  // namespace
}  // namespace sluice::e2e
