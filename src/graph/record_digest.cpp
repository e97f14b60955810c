#include "graph/record_digest.hpp"

#include "base/hash.hpp"
#include "graph/record_layout.hpp"

#include <bit>

namespace sluice::graph {
namespace {

static_assert(std::endian::native == std::endian::little);

class Writer {
public:
    explicit Writer(char* out) : out_(out) {}

    template <class T>
    void number(T value) noexcept
    {
        std::memcpy(out_, &value, sizeof value);
        out_ += sizeof value;
    }
    void text(std::string_view bytes) noexcept
    {
        std::memcpy(out_, bytes.data(), bytes.size());
        out_ += bytes.size();
    }
    char* position() const noexcept { return out_; }

private:
    char* out_;
};

constexpr std::size_t header_size = 52;

std::size_t size_max(Record const& record, RecordLayout const& layout) noexcept
{
    auto size = header_size + record.key.size() + 9 * record.fields.size();
    for (std::size_t i = 0; i < record.fields.size(); ++i)
        if (layout.is_text(i)) size += record.fields.text(i).value_or(std::string_view{}).size();
    return size;
}

void write_field(Writer& writer, Fields const& fields, std::size_t field, bool is_text) noexcept
{
    if (fields.slot(field) == Fields::absent) return writer.number(std::uint8_t{0});
    if (!is_text) {
        writer.number(std::uint8_t{1});
        return writer.number(fields.slot(field));
    }
    auto const text = *fields.text(field);
    writer.number(std::uint8_t{2});
    writer.number(static_cast<std::uint32_t>(text.size()));
    writer.text(text);
}

}  // namespace

Hash128 record_digest(Record const& record, std::string& scratch)
{
    auto const layout = record_layout(record.kind);
    auto const size = size_max(record, layout);
    if (scratch.size() < size) scratch.resize(size);

    Writer writer(scratch.data());
    writer.number(std::uint32_t{0});
    writer.number(static_cast<std::uint8_t>(record.kind));
    bool const is_late = record.version != Sequence::none && record.version != record.sequence;
    writer.number(static_cast<std::uint8_t>((record.removed ? 1 : 0) | (is_late ? 2 : 0)));
    writer.number(static_cast<std::uint16_t>(record.fields.size()));
    writer.number(static_cast<std::uint32_t>(record.key.size()));
    writer.number(static_cast<std::uint64_t>(record.rev));
    writer.number(number(record.sequence));
    if (is_late) writer.number(number(record.version));
    writer.number(record.payload_hash.low);
    writer.number(record.payload_hash.high);
    writer.text(record.key);
    for (std::size_t i = 0; i < record.fields.size(); ++i) write_field(writer, record.fields, i, layout.is_text(i));
    return hash128({scratch.data(), static_cast<std::size_t>(writer.position() - scratch.data())});
}

}  // namespace sluice::graph
