#include "engine/checkpoint_header.hpp"

#include "base/bytes.hpp"

namespace sluice::engine {
namespace {

template <class T>
bool take(std::string_view& bytes, T& value)
{
    auto const taken = take_number<T>(bytes);
    if (taken) value = *taken;
    return taken.has_value();
}

Error unfit(char const* why) { return {Errc::invalid, "unfit_checkpoint", why}; }

}  // namespace

std::string encode(CheckpointHeader const& header)
{
    std::string out;
    append_number<std::uint32_t>(out, header.number);
    append_number<std::uint32_t>(out, header.base);
    append_number<Sequence>(out, header.position.last);
    append_number<std::uint64_t>(out, header.position.stale);
    append_number<std::uint64_t>(out, header.chain);
    append_number<std::uint64_t>(out, header.position.unsettled.size());
    for (auto const& range : header.position.unsettled) {
        append_number<Sequence>(out, range.first);
        append_number<std::uint64_t>(out, range.count);
    }
    append_number<std::uint64_t>(out, header.controls.size());
    return out += header.controls + header.processors;
}

std::optional<CheckpointHeader> decode_checkpoint_header(std::string_view bytes)
{
    CheckpointHeader header;
    std::uint64_t    count = 0;
    bool const whole = take(bytes, header.number) && take(bytes, header.base) && take(bytes, header.position.last) &&
                       take(bytes, header.position.stale) && take(bytes, header.chain) && take(bytes, count);
    if (!whole || count > bytes.size() / sizeof(SequenceRange)) return std::nullopt;
    header.position.unsettled.resize(count);
    for (auto& range : header.position.unsettled) (void)(take(bytes, range.first) && take(bytes, range.count));
    std::uint64_t controls = 0;
    if (!take(bytes, controls) || controls > bytes.size()) return std::nullopt;
    header.controls = bytes.substr(0, controls);
    header.processors = bytes.substr(controls);
    return header;
}

std::string versions_of(schema::SchemaSet const& schemas)
{
    std::string text;
    for (auto const* processor : schemas.processors())
        text += std::string(processor->name) + ' ' + std::to_string(processor->version) + '\n';
    return text;
}

Result<std::uint64_t> chain_at(log::EventLog const& log, Sequence sequence)
{
    if (sequence == Sequence::none) return 0;
    auto const block = log.read(sequence);
    if (!block) return block.error();
    if (!*block) return Error{Errc::corrupt, "gap", "no event " + std::to_string(number(sequence)) + " in the log"};
    return (*block)->record_at(sequence).header().chain;
}

Result<> check_fits(CheckpointHeader const& header, log::EventLog const& log, std::string_view processors)
{
    auto const& [last, stale, unsettled] = header.position;
    auto before = Sequence::none;
    for (auto const& [first, count] : unsettled) {
        bool const fits = first > before && first <= last && count > 0 && count <= number(last) - number(first) + 1;
        if (!fits) return unfit("has an impossible position");
        before = Sequence{number(first) + count - 1};
    }
    if (header.processors != processors)
        return Error{Errc::invalid, "other_processors", "was made with other versions of the processors"};
    if (last > log.last()) return unfit("is ahead of the log");
    auto const chain = chain_at(log, last);
    if (!chain && chain.error().reason != "gap") return chain.error();
    if (!chain || *chain != header.chain) return unfit("belongs to another log");
    return {};
}

Sequence watermark_of(Position const& position)
{
    return position.unsettled.empty() ? position.last : Sequence{number(position.unsettled.front().first) - 1};
}

}  // namespace sluice::engine
