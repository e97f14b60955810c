// One event, and a batch of them. What is accepted is a record that says what the bytes say; what is refused leaves
// nothing behind.
#include "base/assert.hpp"
#include "schema/decoder.hpp"
#include "schema/split.hpp"
#include "schema/syntax.hpp"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace sluice;
using namespace sluice::schema;

// A copy that ends where the padding the decoder may read ends.
class Padded {
public:
    explicit Padded(std::string_view text) : size_(text.size()), bytes_(new char[text.size() + Decoder::padding])
    {
        std::memcpy(bytes_.get(), text.data(), size_);
        std::memset(bytes_.get() + size_, '"', Decoder::padding);
    }
    std::string_view text() const { return {bytes_.get(), size_}; }

private:
    std::size_t             size_;
    std::unique_ptr<char[]> bytes_;
};

void expect_refusal(DecodeError const& error)
{
    SLUICE_ASSERT(!error.code.empty() && !error.detail.empty());
    SLUICE_ASSERT(error.is_json != error.errors.empty());
    for (auto const& e : error.errors) SLUICE_ASSERT(!e.code.empty() && (e.pointer.empty() || e.pointer[0] == '/'));
}

void decode(Decoder& decoder, std::string_view text)
{
    Padded const      padded(text);
    std::string const before = "8 bytes.";
    std::string       out = before;
    Decoded           decoded;
    if (auto const error = decoder.decode(padded.text(), out, decoded)) {
        expect_refusal(*error);
        SLUICE_ASSERT(out == before);
        return;
    }
    SLUICE_ASSERT(decoded.offset == before.size());
    std::string const stored = out.substr(decoded.offset);
    SLUICE_ASSERT(log::LoggedRecord::check(stored));
    log::LoggedRecord const record(stored.data());
    SLUICE_ASSERT(record.bytes().size() == stored.size() && record.payload_intact());
    SLUICE_ASSERT(record.tier() == decoded.tier && is_did(record.did()) && !record.type().empty());
    SLUICE_ASSERT(record.stored_id().empty() || is_event_id(record.stored_id()));
    auto const payload = record.payload();
    SLUICE_ASSERT(payload.starts_with('{') && payload.ends_with('}') && text.find(payload) != text.npos);

    // Read again from what is stored, the event has the same fields; and reading it left nothing in the decoder.
    std::string again;
    SLUICE_ASSERT(!decoder.redecode(record, again) && again == stored);
    std::string second = before;
    SLUICE_ASSERT(!decoder.decode(padded.text(), second, decoded) && second == out);
}

// Why a text is not a JSON value; empty if it is one.
std::string complaint(Decoder& decoder, std::string_view value)
{
    Padded const padded(R"({"event_type":"free","did":"did:plc:a","payload":{"x":)" + std::string(value) + "}}");
    std::string  out;
    Decoded      decoded;
    auto const   error = decoder.decode(padded.text(), out, decoded);
    return error ? error->code : "";
}

// Splits in portions of `portion` bytes.
std::vector<std::string_view> split_whole(std::string_view text, std::size_t portion, bool& is_array)
{
    std::vector<std::string_view> elements;
    ArraySplitter                 splitter(text);
    using Step = ArraySplitter::Step;
    for (;;) {
        auto       budget = portion;
        auto const step = splitter.next(budget);
        SLUICE_ASSERT(step != Step::more || budget == 0);
        if (step == Step::element) elements.push_back(splitter.element());
        is_array = step == Step::end;
        SLUICE_ASSERT(step != Step::refused || splitter.complaint() != nullptr);
        if (step == Step::end || step == Step::refused) return elements;
    }
}

// An array is one value exactly if its elements are.
void split(Decoder& decoder, std::string_view text)
{
    bool       is_array = false, again = false;
    auto const elements = split_whole(text, text.size() + 1, is_array);
    SLUICE_ASSERT(split_whole(text, 1 + text.size() % 7, again) == elements && again == is_array);
    auto const whole = complaint(decoder, text);
    if (!is_array) {
        SLUICE_ASSERT(!text.starts_with('[') || !whole.empty());
        return;
    }
    auto const* end = text.data();
    bool        all = true;
    for (auto const element : elements) {
        SLUICE_ASSERT(!element.empty() && element.data() > end);
        end = element.data() + element.size();
        SLUICE_ASSERT(end < text.data() + text.size());
        all = complaint(decoder, element).empty() && all;
    }
    SLUICE_ASSERT(!whole.empty() || all);
    SLUICE_ASSERT(!all || whole.empty() || whole == "too_deep");
    for (auto const element : elements) decode(decoder, element);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    static SchemaSet const schemas(all_processors());
    static Decoder         decoder(schemas);
    std::string_view const text(reinterpret_cast<char const*>(data), size);
    decode(decoder, text);
    split(decoder, text);
    for (std::size_t at = 0; at < text.size();) decode(decoder, take_line(text, at));
    return 0;
}
