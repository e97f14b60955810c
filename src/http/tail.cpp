#include "http/tail.hpp"

#include "http/problem.hpp"
#include "http/server.hpp"
#include "schema/syntax.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>

#include <algorithm>
#include <charconv>
#include <list>
#include <map>
#include <optional>

namespace sluice::http {

namespace json = boost::json;

namespace {

constexpr std::size_t list_max = 100;  // of types, and of DIDs

// Records that are no events: what the server noted for itself.
bool is_internal(log::LoggedRecord const& record) noexcept { return !log::is_accepted(record.kind()); }

bool takes_type(std::string_view wanted, std::string_view type)
{
    if (wanted.ends_with('*')) return type.starts_with(wanted.substr(0, wanted.size() - 1));
    return wanted == type;
}

}  // namespace

bool TailFilter::takes(log::LoggedRecord const& record) const
{
    if (is_internal(record) && !internal) return false;
    if (!tiers[index(record.tier())]) return false;
    if (!dids.empty() && !std::binary_search(dids.begin(), dids.end(), record.did(), std::less<>())) return false;
    auto const type = record.type();
    return types.empty() ||
           std::any_of(types.begin(), types.end(), [&](auto const& wanted) { return takes_type(wanted, type); });
}

// ---- what a reader is sent

namespace {

void append_number(std::string& out, std::uint64_t number)
{
    char digits[20];
    out.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

void append_text(std::string& out, std::string_view text)
{
    bool const is_plain = std::all_of(text.begin(), text.end(), [](char c) {
        return static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\';
    });
    if (is_plain)
        out.append("\"").append(text).append("\"");
    else
        out += json::serialize(json::string(text));
}

// Line ends stand between the payload's tokens only. Each begins another line of data, which readers join again.
void append_payload(std::string& out, std::string_view payload)
{
    for (;;) {
        auto const end = payload.find_first_of("\r\n");
        out.append(payload.substr(0, end));
        if (end == payload.npos) return;
        out.append("\ndata: ");
        payload.remove_prefix(end + (payload.substr(end).starts_with("\r\n") ? 2 : 1));
    }
}

void append_id(std::string& out, Sequence sequence)
{
    out += "id: ";
    append_number(out, number(sequence));
    out += '\n';
}

void append_event(std::string& out, log::LoggedRecord const& record, Sequence sequence, WallTime received_at)
{
    append_id(out, sequence);
    out.append("event: ").append(record.type()).append("\ndata: {\"sequence\":");
    append_number(out, number(sequence));
    out += R"(,"event_id":)";
    append_text(out, record.id(sequence));
    out += R"(,"event_type":)";
    append_text(out, record.type());
    out += R"(,"did":)";
    append_text(out, record.did());
    out.append(R"(,"tier":")").append(tier_names[index(record.tier())]).append("\"");
    if (record.header().rev != 0)
        out.append(R"(,"rev":")").append(schema::format_tid(Revision{record.header().rev})).append("\"");
    if (record.kind() != log::RecordKind::event)
        out.append(R"(,"kind":")").append(log::record_kind_names[static_cast<std::size_t>(record.kind())]).append("\"");
    if (auto const cause = record.origin().cause; cause != Sequence::none) {
        out += R"(,"cause":)";
        append_number(out, number(cause));
    }
    out.append(R"(,"received_at":")").append(schema::format_datetime(received_at)).append(R"(","payload":)");
    append_payload(out, record.payload());
    out += "}\n\n";
}

Response refusal(int status, std::string error, std::string detail, std::uint32_t retry_after = 0)
{
    return to_response(
        {.status = status, .error = std::move(error), .detail = std::move(detail), .retry_after = retry_after});
}

// ---- what a reader asks for

Error bad(std::string detail) { return {Errc::invalid, "bad_query", std::move(detail)}; }

// The parts between commas; an error if one is empty or there are too many.
Result<std::vector<std::string>> parts_of(std::string_view name, std::string_view text)
{
    std::vector<std::string> parts;
    for (std::size_t at = 0; at <= text.size();) {
        auto const end = std::min(text.find(',', at), text.size());
        if (end == at) return bad("?" + std::string(name) + "= has an empty part");
        parts.emplace_back(text.substr(at, end - at));
        at = end + 1;
    }
    if (parts.size() > list_max)
        return bad("?" + std::string(name) + "= has more than " + std::to_string(list_max) + " parts");
    return parts;
}

Result<std::array<bool, tier_count>> tiers_of(std::string_view text)
{
    auto const names = parts_of("tier", text);
    if (!names) return names.error();
    std::array<bool, tier_count> tiers{};
    for (auto const& name : *names) {
        auto const* const tier = std::find_if(std::begin(tier_names), std::end(tier_names), [&](auto known) {
            return equal_ignoring_case(known, name);
        });
        if (tier == std::end(tier_names)) return bad("?tier= takes low, normal, high and critical");
        tiers[static_cast<std::size_t>(tier - std::begin(tier_names))] = true;
    }
    return tiers;
}

Result<TailFilter> filter_of(Query const& query)
{
    TailFilter filter;
    if (auto const text = query.get("types")) {
        auto types = parts_of("types", *text);
        if (!types) return types.error();
        filter.types = std::move(*types);
    }
    if (auto const text = query.get("dids")) {
        auto dids = parts_of("dids", *text);
        if (!dids) return dids.error();
        for (auto const& did : *dids)
            if (!schema::is_did(did)) return bad("?dids= takes DIDs");
        filter.dids = std::move(*dids);
        std::sort(filter.dids.begin(), filter.dids.end());
    }
    if (auto const text = query.get("tier")) {
        auto const tiers = tiers_of(*text);
        if (!tiers) return tiers.error();
        filter.tiers = *tiers;
    }
    if (auto const text = query.get("internal")) {
        if (*text != "true" && *text != "false") return bad("?internal= is true or false");
        filter.internal = *text == "true";
    }
    return filter;
}

struct Wish {
    TailFilter                   filter;
    std::optional<std::uint64_t> cursor;  // the sequence that was seen last
};

// The header wins: who connects again asks for the same URL.
Result<Wish> wish_of(Request const& request)
{
    auto const query = Query::parse(request.query);
    if (!query) return query.error();
    if (auto const only = query->only({"cursor", "types", "dids", "tier", "internal"}); !only) return only.error();
    auto filter = filter_of(*query);
    if (!filter) return filter.error();
    Wish wish{std::move(*filter), std::nullopt};
    auto text = request.header("Last-Event-ID");
    if (!text || text->empty()) text = query->get("cursor");
    if (text) {
        auto const [end, error] =
            std::from_chars(text->data(), text->data() + text->size(), wish.cursor.emplace());
        if (error != std::errc{} || end != text->data() + text->size())
            return bad("Last-Event-ID and ?cursor= are the sequence of the last event seen, or 0");
    }
    return wish;
}

}  // namespace

// ---- readers

struct Tail::Reader {
    TailFilter filter;

    // The thread's, once it is listed.
    Sequence    next{};       // the first sequence that was not sent, or not wholly
    std::size_t sent{0};      // bytes of that
    Clock::Mono heard{};      // when it was given something
    bool        is_new{true};

    // Guarded by Tail::mutex_. A piece that was asked for is taken out on the io thread, or posted to it.
    std::optional<Piece> wanted;
    bool                 ends{false};
};

// Of a session.
class Tail::ReaderStream final : public Stream {
public:
    ReaderStream(Tail& tail, ReaderPtr reader) : tail_(tail), reader_(std::move(reader)) { ++tail_.readers_; }
    ~ReaderStream() override
    {
        std::optional<Piece> unused;  // must not die under the lock
        {
            std::lock_guard lock(tail_.mutex_);
            unused.swap(reader_->wanted);
            std::erase(tail_.ready_, reader_);
            std::erase(tail_.waiting_, reader_);
        }
        --tail_.readers_;
    }

    void next(Piece piece) override
    {
        std::lock_guard lock(tail_.mutex_);
        reader_->wanted.emplace(std::move(piece));
        tail_.ready_.push_back(reader_);
        tail_.changed_.notify_one();
    }
    void end() override
    {
        std::lock_guard lock(tail_.mutex_);
        reader_->ends = true;
        if (std::erase(tail_.waiting_, reader_) == 0) return;
        tail_.ready_.push_back(reader_);
        tail_.changed_.notify_one();
    }

private:
    Tail&           tail_;
    ReaderPtr const reader_;
};

// What the readers read last, parsed once for all of them.
class Tail::Blocks {
public:
    using BlockPtr = std::shared_ptr<log::StoredBlock const>;

    explicit Blocks(std::size_t bytes_max) : bytes_max_(bytes_max) {}

    // Null when the log does not hold the sequence.
    Result<BlockPtr> get(log::EventLog const& log, Sequence sequence)
    {
        auto const after = by_first_.upper_bound(sequence);
        if (after != by_first_.begin()) {
            auto const found = std::prev(after)->second;
            if (sequence < (*found)->sequence((*found)->size())) {
                recent_.splice(recent_.begin(), recent_, found);
                return *found;
            }
        }
        auto block = log.read(sequence);
        if (block && *block) insert(*block);
        return block;
    }

private:
    static std::size_t cost(log::StoredBlock const& block) { return block.bytes().size() + 4 * block.size() + 256; }

    void insert(BlockPtr block)
    {
        bytes_ += cost(*block);
        recent_.push_front(std::move(block));
        by_first_[recent_.front()->first()] = recent_.begin();
        while (bytes_ > bytes_max_ && recent_.size() > 1) {
            bytes_ -= cost(*recent_.back());
            by_first_.erase(recent_.back()->first());
            recent_.pop_back();
        }
    }

    std::size_t const                              bytes_max_;
    std::size_t                                    bytes_{0};
    std::list<BlockPtr>                            recent_;  // newest use first
    std::map<Sequence, std::list<BlockPtr>::iterator> by_first_;
};

// ---- the io thread's side

Tail::Tail(boost::asio::io_context& io, log::EventLog const& log, Clock const& clock, TailOptions options)
    : io_(io), log_(log), clock_(clock), options_(options), blocks_(std::make_unique<Blocks>(options.cache_bytes)),
      thread_([this] { loop(); })
{
}

Tail::~Tail() { stop(); }

Response Tail::open(Request const& request)
{
    auto wish = wish_of(request);
    if (!wish) return refusal(400, "bad_query", wish.error().detail);
    Sequence last;
    {
        std::lock_guard lock(mutex_);
        last = last_;
    }
    auto const cursor = wish->cursor.value_or(number(last));
    auto const first = std::max(log_.first(), Sequence{1});
    if (cursor > number(last))
        return refusal(400, "future_cursor", "the log ends at " + std::to_string(number(last)));
    if (wish->cursor && cursor != 0 && Sequence{cursor + 1} < first)
        return refusal(410, "cursor_too_old",
                       "the log begins at " + std::to_string(number(first)) + "; 0 takes all it holds");
    if (readers_ >= options_.readers_max) return refusal(503, "overload", "there are too many readers", 5);

    auto reader = std::make_shared<Reader>();
    reader->filter = std::move(wish->filter);
    reader->next = std::max(Sequence{cursor + 1}, first);
    reader->heard = clock_.now();
    Response response{.content_type = "text/event-stream"};
    response.add_header("Cache-Control", "no-store");
    response.stream = std::make_shared<ReaderStream>(*this, std::move(reader));
    return response;
}

void Tail::advance(Sequence last)
{
    std::lock_guard lock(mutex_);
    if (last <= last_) return;
    last_ = last;
    if (!waiting_.empty()) changed_.notify_one();
}

void Tail::stop()
{
    {
        std::lock_guard lock(mutex_);
        stopped_ = true;
        changed_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
}

Tail::Stats Tail::stats() const noexcept { return {readers_, events_, bytes_}; }

// ---- the thread

struct Tail::Turn {
    std::string   piece{};
    bool          is_last{false};
    std::uint64_t events{0};
};

void Tail::loop()
{
    std::unique_lock lock(mutex_);
    while (!stopped_) {
        wake_readers();
        if (ready_.empty()) {
            auto const due = waiting_.empty() ? options_.heartbeat : next_heartbeat_ - clock_.now();
            changed_.wait_for(lock, due);
            continue;
        }
        auto const reader = std::move(ready_.front());
        ready_.pop_front();
        Turn       turn{.is_last = reader->ends};
        auto const last = last_;
        lock.unlock();
        take_turn(*reader, last, turn);
        lock.lock();
        finish_turn(reader, std::move(turn));
    }
}

// Those that wait and have something to hear.
void Tail::wake_readers()
{
    if (waiting_.empty()) return;
    if (waiting_.front()->next <= last_) {  // all were at the same end
        ready_.insert(ready_.end(), waiting_.begin(), waiting_.end());
        waiting_.clear();
        return;
    }
    auto const now = clock_.now();
    if (now < next_heartbeat_) return;
    next_heartbeat_ = now + options_.heartbeat;
    std::erase_if(waiting_, [&](ReaderPtr const& reader) {
        auto const due = reader->heard + options_.heartbeat;
        if (due > now) {
            next_heartbeat_ = std::min(next_heartbeat_, due);
            return false;
        }
        ready_.push_back(reader);
        return true;
    });
}

void Tail::take_turn(Reader& reader, Sequence last, Turn& turn)
{
    auto& piece = turn.piece;
    if (std::exchange(reader.is_new, false)) {
        piece += "retry: 2000\n";
        append_id(piece, Sequence{number(reader.next) - 1});
        piece += '\n';
    }
    std::string_view ending = turn.is_last ? "the server stops" : "";
    for (std::size_t looked = 0; ending.empty() && reader.next <= last && looked < options_.turn_bytes;) {
        auto const block = blocks_->get(log_, reader.next);
        if (!block || !*block) {
            ending = !block ? "the log cannot be read" : "the log no longer holds what follows";
            break;
        }
        auto const from = reader.next;
        if (!take_events(reader, **block, last, turn)) break;
        looked += (*block)->bytes().size() * (number(reader.next) - number(from)) / (*block)->size() + 1;
    }
    if (!ending.empty()) {
        turn.is_last = true;
        if (reader.sent == 0) {  // readers drop an event that has no end
            piece.append(": ").append(ending).append("\n");
            append_id(piece, Sequence{number(reader.next) - 1});
            piece += '\n';
        }
    } else if (piece.empty() && clock_.now() - reader.heard >= options_.heartbeat) {
        piece += ":\n";
        append_id(piece, Sequence{number(reader.next) - 1});
        piece += '\n';
    }
    if (!piece.empty()) reader.heard = clock_.now();
}

// False when the piece is full.
bool Tail::take_events(Reader& reader, log::StoredBlock const& block, Sequence last, Turn& turn)
{
    auto const end = std::min(block.sequence(block.size()), next(last));
    for (; reader.next < end; reader.next = next(reader.next)) {
        auto const record = block.record_at(reader.next);
        if (!reader.filter.takes(record)) continue;
        if (turn.piece.size() >= options_.piece_bytes) return false;
        event_.clear();
        append_event(event_, record, reader.next, block.received_at());
        auto const room = options_.piece_bytes - turn.piece.size();
        auto const part = std::string_view(event_).substr(reader.sent, room);
        turn.piece += part;
        reader.sent += part.size();
        if (reader.sent < event_.size()) return false;
        reader.sent = 0;
        ++turn.events;
    }
    return true;
}

// Under the lock.
void Tail::finish_turn(ReaderPtr reader, Turn turn)
{
    if (!reader->wanted) return;  // the client has gone
    if (!turn.piece.empty() || turn.is_last) {
        events_ += turn.events;
        bytes_ += turn.piece.size();
        boost::asio::post(
            io_, [piece = std::move(*std::exchange(reader->wanted, std::nullopt)), turn = std::move(turn)]() mutable {
                piece(std::move(turn.piece), turn.is_last);
            });
    } else if (reader->next <= last_ || reader->ends) {
        ready_.push_back(std::move(reader));
    } else {
        next_heartbeat_ = waiting_.empty() ? reader->heard + options_.heartbeat
                                           : std::min(next_heartbeat_, reader->heard + options_.heartbeat);
        waiting_.push_back(std::move(reader));
    }
}

}  // namespace sluice::http
