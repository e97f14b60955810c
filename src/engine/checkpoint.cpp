#include "engine/checkpoint.hpp"

#include "base/bytes.hpp"
#include "base/hash.hpp"

#include <algorithm>
#include <charconv>
#include <map>

namespace sluice::engine {
namespace {

constexpr std::uint32_t header_frame = 0x32434C53;  // "SLC2": also the file's magic and version
constexpr std::uint32_t repositories_frame = 1;
constexpr std::uint32_t end_frame = 2;
constexpr std::size_t   frame_bytes_max = CheckpointOptions{}.frame_bytes_max;
constexpr std::uint32_t deltas_max = 64;  // of a chain: a restart opens each of its files

struct FrameHead {
    std::uint32_t size;
    std::uint32_t kind;
    std::uint64_t check;
};
static_assert(sizeof(FrameHead) == 16);

// --- names ---

struct FileName {
    std::uint32_t number{0};
    bool          is_base{false};
};

std::string text_of(FileName name)
{
    auto digits = std::to_string(name.number);
    return std::string(10 - digits.size(), '0') + digits + (name.is_base ? ".base" : ".delta");
}

std::optional<FileName> parse(std::string_view text)
{
    FileName   name;
    auto const end = text.data() + text.size();
    auto const number = std::from_chars(text.data(), end, name.number);
    name.is_base = text.ends_with(".base");
    if (number.ec != std::errc{} || text != text_of(name)) return std::nullopt;
    return name;
}

// By number.
std::map<std::uint32_t, bool> checkpoints_in(files::Directory const& directory)
{
    std::map<std::uint32_t, bool> is_base;
    auto const                    names = directory.list();
    if (!names) return is_base;
    for (auto const& text : *names)
        if (auto const name = parse(text)) is_base[name->number] = name->is_base;
    return is_base;
}

// --- reading ---

class FrameReader {
public:
    explicit FrameReader(files::Reader const& file) : file_(file) {}

    struct Frame {
        std::uint32_t kind{0};
        std::string   bytes;
    };

    // Nothing is taken on trust: a torn or changed file ends in `corrupt`.
    Result<Frame> next()
    {
        auto const head_bytes = file_.read(offset_, sizeof(FrameHead));
        if (!head_bytes) return head_bytes.error();
        FrameHead head{};
        if (head_bytes->size() != sizeof head) return torn();
        std::memcpy(&head, head_bytes->data(), sizeof head);
        if (head.size > frame_bytes_max) return torn();
        auto bytes = file_.read(offset_ + sizeof head, head.size);
        if (!bytes) return bytes.error();
        if (bytes->size() != head.size || hash64(*bytes, check_ + head.kind) != head.check) return torn();
        check_ = head.check;
        offset_ += sizeof head + head.size;
        return Frame{head.kind, std::move(*bytes)};
    }
    bool at_end() const noexcept { return offset_ == file_.size(); }

private:
    static Error torn() { return {Errc::corrupt, "damaged_checkpoint", "torn or changed"}; }

    files::Reader const& file_;
    std::uint64_t        offset_{0};
    std::uint64_t        check_{0};
};

class Loader {
public:
    Loader(
        files::Directory const& directory, log::EventLog const& log, schema::SchemaSet const& schemas,
        graph::Snapshots& snapshots)
        : directory_(directory), log_(log), snapshots_(snapshots), processors_(versions_of(schemas)),
          is_base_(checkpoints_in(directory))
    {
    }

    Checkpoint load()
    {
        std::vector<Error> refused;
        for (auto newest = is_base_.rbegin(); newest != is_base_.rend();) {
            Checkpoint checkpoint;
            auto const bad = load_chain(newest->first, checkpoint);
            if (!bad) {
                checkpoint.refused = std::move(refused);
                return checkpoint;
            }
            refused.push_back(bad->why);
            snapshots_.clear();
            // Whatever builds on a file that cannot be used is of no use either.
            while (newest != is_base_.rend() && newest->first >= bad->number) ++newest;
        }
        Checkpoint nothing;
        nothing.refused = std::move(refused);
        return nothing;
    }

private:
    struct Bad {
        std::uint32_t number{0};
        Error         why;
    };

    // From the newest file back to its base, as restore() wants it.
    std::optional<Bad> load_chain(std::uint32_t newest, Checkpoint& checkpoint)
    {
        for (auto number = newest;; --number) {
            auto const found = is_base_.find(number);
            if (found == is_base_.end())
                return Bad{
                    number + 1, {Errc::corrupt, "missing_checkpoint", "no checkpoint " + std::to_string(number)}};
            FileName const name{number, found->second};
            if (auto read = load_file(name, number == newest, checkpoint); !read) {
                auto why = read.error();
                why.detail = text_of(name) + ": " + why.detail;
                return Bad{number, std::move(why)};
            }
            if (name.is_base) return std::nullopt;
        }
    }

    Result<> load_file(FileName name, bool is_newest, Checkpoint& checkpoint)
    {
        auto const file = directory_.open(text_of(name));
        if (!file) return file.error();
        FrameReader frames(**file);
        auto const  first = frames.next();
        if (!first) return first.error();
        auto const header = first->kind == header_frame ? decode_checkpoint_header(first->bytes) : std::nullopt;
        if (!header) return refusal("is no checkpoint this program knows");
        if (header->number != name.number || (header->base == header->number) != name.is_base)
            return refusal("has the name of another one");
        if (auto const fits = check_fits(*header, log_, processors_); !fits) return fits;
        if (is_newest) {
            checkpoint.position = header->position;
            auto controls = controls_from_text(header->controls);
            if (!controls) return refusal("has controls this program does not know");
            checkpoint.controls = std::move(*controls);
            checkpoint.number = header->number;
            checkpoint.base = header->base;
        } else if (header->base != checkpoint.base) {
            return refusal("belongs to another chain");
        }

        auto const seen = watermark_of(checkpoint.position);
        auto const restored = [&](graph::Snapshots::Restored const& repository) {
            if (repository.last > seen) checkpoint.ahead.emplace(repository.did, repository.last);
        };
        for (;;) {
            auto const frame = frames.next();
            if (!frame) return frame.error();
            if (frame->kind == end_frame && frames.at_end()) return {};
            if (frame->kind != repositories_frame) return refusal("has a part that is unknown");
            if (auto const done = snapshots_.restore(frame->bytes, header->number, restored); !done)
                return done.error();
        }
    }

    static Error refusal(char const* why) { return {Errc::invalid, "unfit_checkpoint", why}; }

    files::Directory const&             directory_;
    log::EventLog const&                log_;
    graph::Snapshots&                   snapshots_;
    std::string const                   processors_;
    std::map<std::uint32_t, bool> const is_base_;
};

}  // namespace

Checkpoint load_checkpoint(
    files::Directory const& directory, log::EventLog const& log, schema::SchemaSet const& schemas,
    graph::Snapshots& snapshots)
{
    return Loader(directory, log, schemas, snapshots).load();
}

Checkpointer::Checkpointer(Deps deps, CheckpointOptions options, Checkpoint const& loaded)
    : deps_(deps), options_(options), whole_base_(loaded.base), whole_last_(loaded.number),
      last_position_(loaded.position.last), last_watermark_(watermark_of(loaded.position)),
      last_time_(deps.clock.now()), last_sequence_(number(loaded.position.last))
{
    auto const existing = checkpoints_in(deps_.directory);
    if (!existing.empty()) number_ = existing.rbegin()->first;
    // A delta would follow the newest file: it must be the one the graph came from.
    if (loaded.number != 0 && loaded.number == number_) base_ = loaded.base;
    for (auto const& [number, is_base] : existing) {
        if (base_ == 0 || number < base_) continue;
        auto const file = deps_.directory.open(text_of({number, is_base}));
        if (file) (is_base ? base_bytes_ : delta_bytes_) += (*file)->size();
    }
}

bool Checkpointer::step()
{
    auto const now = deps_.clock.now();
    auto const before = writer_ ? bytes_ : 0;
    Result<>   done;
    if (!writer_) {
        if (!is_due(deps_.watermark.last())) return false;
        began_ = now;
        done = begin();
    } else {
        done = proceed();
    }
    pause_ = std::chrono::nanoseconds((bytes_ - before) * 1'000'000'000 / options_.bytes_per_second);
    if (done) return true;
    writer_.reset();
    base_ = 0;  // repositories that count as taken were not kept
    last_time_ = now;
    failed_.fetch_add(1, std::memory_order_relaxed);
    std::lock_guard const lock(mutex_);
    failure_ = done.error();
    return true;
}

bool Checkpointer::is_due(Sequence last) const
{
    auto const events = number(last) - number(last_position_);
    auto const waited = deps_.clock.now() - last_time_;
    if (events == 0) return false;
    if (waited >= options_.interval) return true;
    return events >= options_.events && (base_ != 0 || failed_.load(std::memory_order_relaxed) == 0);
}

Result<> Checkpointer::begin()
{
    bool const is_base = base_ == 0 || delta_bytes_ >= base_bytes_ / 2 || number_ - base_ >= deltas_max;
    position_ = deps_.watermark.position();
    auto const chain = chain_at(deps_.log, position_.last);
    if (!chain) return chain.error();

    ++number_;
    if (is_base) {
        base_ = number_;
        base_bytes_ = delta_bytes_ = 0;
    }
    auto writer = deps_.directory.create(text_of({number_, is_base}));
    if (!writer) return writer.error();
    writer_ = std::move(*writer);
    capture_ = {.number = number_, .all = is_base, .after = is_base ? Sequence::none : last_watermark_};
    check_ = bytes_ = 0;
    frame_.clear();
    return write(
        header_frame, encode({
                          .number = number_,
                          .base = base_,
                          .position = position_,
                          .chain = *chain,
                          .controls = to_text(deps_.controls.state()),  // after the position was taken
                          .processors = versions_of(deps_.schemas),
                      }));
}

Result<> Checkpointer::proceed()
{
    frame_.clear();
    bool is_more = true;
    for (auto visits = options_.visits; is_more && visits > 0 && frame_.size() < options_.frame_bytes; --visits)
        is_more = deps_.snapshots.capture(capture_, frame_);
    if (!frame_.empty())
        if (auto const written = write(repositories_frame, frame_); !written) return written;
    return is_more ? Result<>() : complete();
}

Result<> Checkpointer::complete()
{
    if (auto const written = write(end_frame, {}); !written) return written;
    if (auto const committed = writer_->commit(); !committed) return committed;
    writer_.reset();
    (base_ == number_ ? base_bytes_ : delta_bytes_) += bytes_;
    last_position_ = position_.last;
    last_watermark_ = watermark_of(position_);
    last_time_ = deps_.clock.now();
    if (base_ == number_) prune();
    whole_base_ = base_;
    whole_last_ = number_;

    auto const relaxed = std::memory_order_relaxed;
    last_bytes_.store(bytes_, relaxed);
    last_ns_.store(static_cast<std::uint64_t>((last_time_ - began_).count()), relaxed);
    last_sequence_.store(number(last_position_), relaxed);
    written_.fetch_add(1, relaxed);
    std::lock_guard const lock(mutex_);
    failure_.reset();
    return {};
}

Result<> Checkpointer::write(std::uint32_t kind, std::string_view bytes)
{
    if (bytes.size() > options_.frame_bytes_max)
        return Error{Errc::invalid, "frame_too_large", "a frame of " + std::to_string(bytes.size()) + " bytes"};
    check_ = hash64(bytes, check_ + kind);
    FrameHead const head{static_cast<std::uint32_t>(bytes.size()), kind, check_};
    bytes_ += sizeof head + bytes.size();
    if (auto const done = writer_->append({reinterpret_cast<char const*>(&head), sizeof head}); !done) return done;
    return writer_->append(bytes);
}

// Keeps the chain before this base, for the day the base is found damaged: of the files before, those that were used or
// written, and none that was refused. A file that stays costs only space.
void Checkpointer::prune() const
{
    for (auto const& [number, is_base] : checkpoints_in(deps_.directory)) {
        bool const is_kept = number >= base_ || (number >= whole_base_ && number <= whole_last_);
        if (!is_kept) (void)deps_.directory.remove(text_of({number, is_base}));
    }
}

Checkpointer::Status Checkpointer::status() const
{
    auto const            relaxed = std::memory_order_relaxed;
    std::lock_guard const lock(mutex_);
    return {.written = written_.load(relaxed), .failed = failed_.load(relaxed), .bytes = last_bytes_.load(relaxed),
            .nanoseconds = last_ns_.load(relaxed), .position = Sequence{last_sequence_.load(relaxed)},
            .failure = failure_};
}

}  // namespace sluice::engine
