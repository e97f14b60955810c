// Parameters of statements in Postgres' binary format: nothing is escaped and nothing printed.
#pragma once

#include <sluice/event.hpp>

#include <pqxx/binarystring>

#include <bit>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::adapters::postgres {

template <class T>
void append_big_endian(std::string& out, T number)
{
    static_assert(std::endian::native == std::endian::little);
    char bytes[sizeof number];
    std::memcpy(bytes, &number, sizeof number);
    out.append(std::make_reverse_iterator(bytes + sizeof bytes), std::make_reverse_iterator(bytes));
}

// One array of one dimension.
class Array {
public:
    enum class Element : std::int32_t { boolean = 16, bytes = 17, number = 20, text = 25 };  // as Postgres numbers them

    explicit Array(Element element)
    {
        append_big_endian(bytes_, std::int32_t{1});
        append_big_endian(bytes_, std::int32_t{1});  // may hold nulls
        append_big_endian(bytes_, static_cast<std::int32_t>(element));
        append_big_endian(bytes_, std::int32_t{0});  // how many: see take()
        append_big_endian(bytes_, std::int32_t{1});
    }

    void add(std::string_view text)
    {
        append_big_endian(bytes_, static_cast<std::int32_t>(text.size()));
        bytes_ += text;
        ++count_;
    }
    void add(std::int64_t number)
    {
        append_big_endian(bytes_, std::int32_t{8});
        append_big_endian(bytes_, number);
        ++count_;
    }
    void add(bool value)
    {
        append_big_endian(bytes_, std::int32_t{1});
        bytes_ += value ? '\1' : '\0';
        ++count_;
    }
    void add_null()
    {
        append_big_endian(bytes_, std::int32_t{-1});
        ++count_;
    }

    pqxx::binarystring take()
    {
        std::string count;
        append_big_endian(count, count_);
        bytes_.replace(12, count.size(), count);
        return {bytes_.data(), bytes_.size()};
    }

private:
    std::string  bytes_;
    std::int32_t count_{0};
};

class Params {
public:
    Params& add(std::string_view bytes)
    {
        values_.emplace_back(bytes.data(), bytes.size());
        return *this;
    }
    Params& add(std::int64_t number)
    {
        std::string bytes;
        append_big_endian(bytes, number);
        return add(std::string_view(bytes));
    }
    Params& add(Array array)
    {
        values_.push_back(array.take());
        return *this;
    }

    std::vector<pqxx::binarystring> const& values() const noexcept { return values_; }

private:
    std::vector<pqxx::binarystring> values_;
};

// Numbers keep their bits; Postgres has no unsigned ones.
constexpr std::int64_t stored(std::uint64_t number) { return static_cast<std::int64_t>(number); }
constexpr std::int64_t stored(Sequence sequence) { return stored(number(sequence)); }
constexpr std::int64_t stored(Revision rev) { return stored(static_cast<std::uint64_t>(rev)); }

// As hex() prints it.
inline std::string stored(Hash128 hash)
{
    std::string bytes;
    append_big_endian(bytes, hash.high);
    append_big_endian(bytes, hash.low);
    return bytes;
}

}  // namespace sluice::adapters::postgres
