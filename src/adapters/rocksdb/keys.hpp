// Keys of the log in RocksDB: big-endian, so that their order is the order of the log.
#pragma once

#include <sluice/event.hpp>

#include <rocksdb/slice.h>

#include <array>
#include <optional>

namespace sluice::adapters {

template <std::size_t size>
class Key {
public:
    rocksdb::Slice slice() const { return {bytes_.data(), bytes_.size()}; }

protected:
    template <class T>
    void put(std::size_t at, T value)
    {
        for (std::size_t i = sizeof value; i-- > 0; value = static_cast<T>(value >> 8))
            bytes_[at + i] = static_cast<char>(value);
    }

    template <class T>
    static T get(rocksdb::Slice bytes, std::size_t at)
    {
        T value = 0;
        for (std::size_t i = 0; i < sizeof value; ++i)
            value = static_cast<T>(value << 8 | static_cast<unsigned char>(bytes[at + i]));
        return value;
    }

private:
    std::array<char, size> bytes_{};
};

class BlockKey : public Key<8> {
public:
    explicit BlockKey(Sequence first) { put(0, number(first)); }

    static std::optional<Sequence> parse(rocksdb::Slice bytes)
    {
        if (bytes.size() != 8) return std::nullopt;
        return Sequence{get<std::uint64_t>(bytes, 0)};
    }
};

class DecisionKey : public Key<12> {
public:
    struct Parts {
        Sequence      sequence{};
        std::uint32_t number{};
    };

    DecisionKey(Sequence sequence, std::uint32_t number)
    {
        put(0, sluice::number(sequence));
        put(8, number);
    }

    static std::optional<Parts> parse(rocksdb::Slice bytes)
    {
        if (bytes.size() != 12) return std::nullopt;
        return Parts{Sequence{get<std::uint64_t>(bytes, 0)}, get<std::uint32_t>(bytes, 8)};
    }
};

}  // namespace sluice::adapters
