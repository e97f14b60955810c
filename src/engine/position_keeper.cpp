#include "engine/position_keeper.hpp"

#include "base/hash.hpp"
#include "base/bytes.hpp"

namespace sluice::engine {
namespace {

constexpr char const* copy_name = "position";
constexpr std::size_t copy_size_max = 16u << 20;

// Cut before the first stretch that is one too many.
void shorten(Position& position, std::size_t stretches)
{
    if (position.unsettled.size() <= stretches) return;
    position.last = Sequence{number(position.unsettled[stretches].first) - 1};
    position.unsettled.resize(stretches);
}

}  // namespace

Result<Checkpoint> PositionKeeper::load()
{
    auto const bytes = deps_.positions.begin();
    if (!bytes) {
        if (bytes.error().code != Errc::unavailable) return bytes.error();
        note(bytes.error());
        auto checkpoint = load_copy();
        checkpoint.refused.push_back(bytes.error());
        assumed_ = checkpoint.position;
        return checkpoint;
    }
    auto checkpoint = judge(*bytes);
    bool const is_outdated = !checkpoint && checkpoint.error().reason == "other_processors";
    if (!checkpoint && !is_outdated) return checkpoint;
    if (is_outdated || bytes->empty())
        if (auto const cleared = deps_.positions.clear(); !cleared) return cleared.error();
    if (is_outdated) {
        Checkpoint none;
        none.refused.push_back(checkpoint.error());
        checkpoint = std::move(none);
    }
    assumed_ = checkpoint->position;
    deps_.positions.open();
    is_open_ = true;
    return checkpoint;
}

// Of a store without a position it is 0: whatever that holds was begun for a second and belongs to nobody.
Result<Checkpoint> PositionKeeper::judge(std::string_view bytes) const
{
    Checkpoint checkpoint;
    if (bytes.empty()) return checkpoint;
    auto const header = decode_checkpoint_header(bytes);
    if (!header) return Error{Errc::invalid, "unfit_checkpoint", "the store has a position this program does not know"};
    if (auto const fits = check_fits(*header, deps_.log, versions_of(deps_.schemas)); !fits) {
        auto why = fits.error();
        why.detail = "what the store holds " + why.detail;
        return why;
    }
    auto controls = controls_from_text(header->controls);
    if (!controls) return Error{Errc::invalid, "unfit_checkpoint", "the store has controls this program does not know"};
    checkpoint.controls = std::move(*controls);
    checkpoint.position = header->position;
    return checkpoint;
}

// The hash of the position u64, the position.
Checkpoint PositionKeeper::load_copy()
{
    if (deps_.directory == nullptr) return {};
    auto const file = deps_.directory->open(copy_name);
    if (!file) return {};
    auto const bytes = (*file)->read(0, copy_size_max);
    if (!bytes) return {};
    std::string_view rest = *bytes;
    auto const       hash = take_number<std::uint64_t>(rest);
    if (!hash || *hash != hash64(rest)) return {};
    auto checkpoint = judge(rest);
    return checkpoint ? std::move(*checkpoint) : Checkpoint{};
}

Result<> PositionKeeper::open()
{
    auto const bytes = deps_.positions.begin();
    if (!bytes) return bytes.error();
    auto const found = judge(*bytes);
    if (!found && found.error().code == Errc::invalid)
        return Error{Errc::corrupt, "projection_unfit", found.error().detail};
    if (!found) return found.error();
    if (found->position.last < assumed_.last)
        return Error{Errc::corrupt, "projection_behind",
                     "the graph store is at " + std::to_string(number(found->position.last)) + ", it was at " +
                         std::to_string(number(assumed_.last))};
    if (bytes->empty())
        if (auto const cleared = deps_.positions.clear(); !cleared) return cleared;
    deps_.positions.open();
    is_open_ = true;
    return {};
}

Result<bool> PositionKeeper::step()
{
    auto const now = deps_.clock.now();
    if (now < next_save_) return false;
    next_save_ = now + options_.interval;
    auto const done = is_open_ ? save(deps_.watermark.position()) : open();
    note(done);
    if (!done && done.error().code == Errc::corrupt) return done.error();
    return false;
}

Result<> PositionKeeper::save(Position position)
{
    shorten(position, options_.unsettled_max);
    auto const low = watermark_of(position);
    if (position.last == saved_ && low == saved_low_) return {};
    auto const chain = chain_at(deps_.log, position.last);
    if (!chain) return chain.error();
    auto const bytes = encode({.position = position, .chain = *chain,
                               .controls = to_text(deps_.controls.state()),  // after the position was taken
                               .processors = versions_of(deps_.schemas)});
    if (auto const saved = deps_.positions.save(bytes, low); !saved) return saved;
    saved_ = position.last;
    saved_low_ = low;
    {
        std::lock_guard const lock(mutex_);
        ++status_.written;
        status_.bytes = bytes.size();
        status_.position = position.last;
    }
    auto const now = deps_.clock.now();
    if (deps_.directory == nullptr || now < next_copy_) return {};
    next_copy_ = now + options_.copy_interval;
    auto writer = deps_.directory->create(copy_name);
    if (!writer) return writer.error();
    std::string copy;
    append_number<std::uint64_t>(copy, hash64(bytes));
    copy += bytes;
    if (auto const appended = (*writer)->append(copy); !appended) return appended;
    return (*writer)->commit();
}

void PositionKeeper::note(Result<> const& done)
{
    std::lock_guard const lock(mutex_);
    status_.failure.reset();
    if (done) return;
    ++status_.failed;
    status_.failure = done.error();
}

Checkpointer::Status PositionKeeper::status() const
{
    std::lock_guard const lock(mutex_);
    return status_;
}

}  // namespace sluice::engine
