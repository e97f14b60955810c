// Bytes of a connection -> requests.
#include "stage.hpp"
#include "support.hpp"

#include "http/parser.hpp"

#include <cstring>

namespace sluice::bench {

namespace {

class Codec : public Stage {
public:
    void run() override
    {
        for (auto const& request : requests_) read(request);
    }

protected:
    void add(std::string const& path, std::string const& body)
    {
        requests_.push_back("POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1:7480\r\nContent-Type: application/json\r\n" +
                  "X-Internal-Key: 0123456789abcdef0123456789abcdef\r\nContent-Length: " +
                  std::to_string(body.size()) + "\r\n\r\n" + body);
    }
    Source source_;

private:
    // In pieces as a socket gives them.
    void read(std::string_view left)
    {
        using Step = http::RequestReader::Step;
        auto step = Step::more;
        while (step != Step::complete) {
            switch (step) {
            case Step::more: {
                auto const space = reader_.space();
                auto const size = std::min({space.size(), left.size(), std::size_t{64} << 10});
                std::memcpy(space.data(), left.data(), size);
                left.remove_prefix(size);
                step = reader_.received(size);
                break;
            }
            case Step::head: step = reader_.accept(16u << 20); break;
            case Step::refused: give_up(std::string(reader_.refusal().detail));
            case Step::complete: break;
            }
        }
        reader_.next();
    }

    std::vector<std::string> requests_;
    http::RequestReader      reader_;
};

class Singles final : public Codec {
public:
    Singles()
    {
        for (std::size_t i = 0; i < events(); ++i) add("/internal/events", source_.json());
    }
    std::size_t events() const override { return 1000; }
};

class Batches final : public Codec {
public:
    Batches()
    {
        for (std::size_t batch = 0; batch < 10; ++batch) {
            std::string body;
            for (std::size_t i = 0; i < events() / 10; ++i) body += source_.json() + "\n";
            add("/internal/events/batch", body);
        }
    }
    std::size_t events() const override { return 10'000; }
};

}  // namespace

std::span<NamedStage const> codec_stages()
{
    static constexpr NamedStage stages[] = {
        {"codec/single", make_stage<Singles>}, {"codec/batch", make_stage<Batches>}};
    return stages;
}

}  // namespace sluice::bench
