// What is acceptable as JSON, whatever it says. An event of a type that nobody knows has a free payload.
#include "fixture.hpp"

#include "schema/split.hpp"

#include <nlohmann/json.hpp>

#include <random>
#include <set>

namespace sluice::schema::test {
namespace {

class Strictness : public DecoderTest {
protected:
    std::string code_of_value(std::string const& value) { return code(envelope("free", "{\"v\":" + value + "}")); }
};

TEST_F(Strictness, AcceptsEveryKindOfValue)
{
    for (auto const* const value :
         {"null", "true", "false", "0", "-0", "12", "-3.5e-7", "1E+2", R"("")",
          R"("\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00")", "[]", "{}", "[[],{}]", "[1,\"a\",null]", R"({"a":{"b":[]}})",
          " [ 1 , 2 ] ", "\t\n\r 1 \r\n"})
        EXPECT_EQ(code_of_value(value), "") << value;
}

TEST_F(Strictness, AcceptsBlankSpaceAroundAnEvent)
{
    EXPECT_EQ(code(" \r\n\t" + envelope("free", "{}").text() + "\n\n"), "");
}

TEST_F(Strictness, RefusesWhatIsNotWrittenAsJson)
{
    for (auto const* const value :
         {"",
          "nul",
          "True",
          "nulll",
          "+1",
          "01",
          "-01",
          "1.",
          ".5",
          "1.e5",
          "1e",
          "1e+",
          "-",
          "0x10",
          "NaN",
          "Infinity",
          "1 2",
          "1\"a\"",
          "'a'",
          "[1,]",
          "[,1]",
          "[1 2]",
          "[1",
          "{\"a\"}",
          "{\"a\":}",
          "{\"a\" 1}",
          "{1:2}",
          "{a:1}",
          "{\"a\":1,}",
          "{,}",
          "[1}",
          "{\"a\":1]",
          "\"a",
          "\"\\x\"",
          "\"\\u12g4\"",
          "\"\\u12\"",
          "\"a\tb\"",
          "\"a\nb\"",
          "/**/1",
          "1 // one",
          "\x0c"
          "1",
          "\x1a"
          "1",
          "\"a\"\"b\"",
          "\"a\"b",
          "tru\"e\"",
          "--1",
          "1-",
          "1e5.5",
          "]",
          "}"})
        EXPECT_EQ(code_of_value(value), "bad_json") << value;
}

TEST_F(Strictness, RefusesAnythingButOneText)
{
    auto const event = envelope("free", "{}").text();
    EXPECT_EQ(code(""), "bad_json");
    EXPECT_EQ(code("  \n"), "bad_json");
    EXPECT_EQ(code(event + event), "bad_json");
    EXPECT_EQ(code(event + "\n" + event), "bad_json");
    EXPECT_EQ(code(event + ","), "bad_json");
    EXPECT_EQ(code(event + "}"), "bad_json");
    EXPECT_EQ(code(event + "x"), "bad_json");
    EXPECT_EQ(code(event + std::string(1, '\0')), "bad_json");
    EXPECT_EQ(code(std::string(1, '\0') + event), "bad_json");
    EXPECT_EQ(code("\xEF\xBB\xBF" + event), "bad_json");
    for (std::size_t size = 1; size < event.size(); ++size) EXPECT_EQ(code(event.substr(0, size)), "bad_json") << size;
}

TEST_F(Strictness, RefusesNumbersThatWouldChange)
{
    for (auto const* const value :
         {"1e400", "-1e400", "1.5e309", "1e99999999999999999999", "18446744073709551616", "-9223372036854775809",
          "100000000000000000000000000000000000000000"})
        EXPECT_EQ(code_of_value(value), "bad_number") << value;
    for (auto const* const value :
         {"18446744073709551615", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "2147483648",
          "-2147483649", "9007199254740993", "1e-400", "0e99999999999999999999", "1.7976931348623157e308", "5e-324"})
        EXPECT_EQ(code_of_value(value), "") << value;
}

TEST_F(Strictness, RefusesNumbersWrittenTooLong)
{
    EXPECT_EQ(code_of_value("0." + std::string(Decoder::number_chars_max - 2, '1')), "");
    EXPECT_EQ(code_of_value("0." + std::string(Decoder::number_chars_max - 1, '1')), "bad_number");
}

TEST_F(Strictness, RefusesDuplicateNamesAtAnyLevel)
{
    for (auto const* const value :
         {R"({"a":1,"a":1})", R"({"a":1,"b":2,"a":3})", R"([{"x":{"a":1,"a":2}}])", R"({"a":1,"\u0061":2})",
          R"({"":1,"":2})", R"({"long name that is compared":1,"b":{},"long name that is compared":2})"})
        EXPECT_EQ(code_of_value(value), "duplicate_member") << value;
    EXPECT_EQ(code(R"({"event_type":"free","payload":{},"did":"did:plc:a","did":"did:plc:a"})"), "duplicate_member");
    EXPECT_EQ(code(R"({"event_type":"free","payload":{},"did":"did:plc:a","d\u0069d":"x"})"), "duplicate_member");
    EXPECT_EQ(code_of_value(R"({"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]})"), "");
    EXPECT_EQ(code_of_value(R"({"a":1,"A":2,"a ":3,"":4,"aa":5,"aaa":6,"aba":7})"), "");
}

TEST_F(Strictness, RefusesADuplicateOfAnyNameOfAWideObject)
{
    for (std::size_t const twice : {0, 1, 20, 23, 24, 25, 99}) {
        std::string members = R"("name )" + std::to_string(twice) + R"(":0)";
        std::string unique = R"("name":0)";
        for (std::size_t i = 0; i < 100; ++i) {
            auto const member = R"(,"name )" + std::to_string(i) + R"(":0)";
            members += member;
            unique += member;
        }
        EXPECT_EQ(code_of_value('{' + members + '}'), "duplicate_member") << twice;
        EXPECT_EQ(code_of_value('{' + unique + '}'), "") << twice;
    }
}

TEST_F(Strictness, RefusesInvalidUtf8AndHalvesOfSurrogates)
{
    for (std::string const text :
         {"\xFF", "\xC0\xAF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC3", "\x80", R"(\ud800)",
          R"(\udc00)", R"(\ud800\ud800)", R"(\ud800x)", R"(\ud83d\n)", R"(\ude00\ud83d)"}) {
        EXPECT_EQ(code_of_value(in_quotes(text)), "bad_utf8") << text;
        EXPECT_EQ(code(envelope("free", "{" + in_quotes(text) + ":1}")), "bad_utf8") << text;
    }
    for (std::string const text : {"\u00e9", "\u20ac", "\U0001F600", R"(\u0000)", R"(\ud83d\ude00)", R"(\uffff)"})
        EXPECT_EQ(code_of_value(in_quotes(text)), "") << text;
}

TEST_F(Strictness, RefusesDeepTexts)
{
    // The envelope and its payload are two levels.
    auto const nested = [](std::size_t levels, std::string const& open, std::string const& close) {
        std::string text;
        for (std::size_t i = 0; i < levels; ++i) text += open;
        text += '1';
        for (std::size_t i = 0; i < levels; ++i) text += close;
        return text;
    };
    EXPECT_EQ(code_of_value(nested(Decoder::depth_max - 2, "[", "]")), "");
    EXPECT_EQ(code_of_value(nested(Decoder::depth_max - 1, "[", "]")), "too_deep");
    EXPECT_EQ(code_of_value(nested(Decoder::depth_max - 2, R"({"a":)", "}")), "");
    EXPECT_EQ(code_of_value(nested(Decoder::depth_max - 1, R"({"a":)", "}")), "too_deep");
    EXPECT_EQ(code(std::string(100'000, '[')), "too_deep");
    EXPECT_EQ(code(nested(30'000, R"({"a":)", "")), "too_deep");
}

TEST_F(Strictness, RefusesWhatIsTooLarge)
{
    auto const object = [](std::size_t members) {
        std::string text;
        for (std::size_t i = 0; i < members; ++i) text += (i ? ",\"m" : "\"m") + std::to_string(i) + "\":0";
        return '{' + text + '}';
    };
    auto const array = [](std::size_t elements) {
        std::string text(2 * elements - 1, ',');
        for (std::size_t i = 0; i < text.size(); i += 2) text[i] = '0';
        return '[' + text + ']';
    };
    EXPECT_EQ(code_of_value(object(Decoder::members_max)), "");
    EXPECT_EQ(code_of_value(object(Decoder::members_max + 1)), "too_large");
    // Event, its type, payload, did and the array are nodes themselves.
    EXPECT_EQ(code_of_value(array(Decoder::nodes_max - 5)), "");
    EXPECT_EQ(code_of_value(array(Decoder::nodes_max - 4)), "too_large");
    EXPECT_EQ(code_of_value(in_quotes(std::string(Decoder::string_bytes_max, 'x'))), "");
    EXPECT_EQ(code_of_value(in_quotes(std::string(Decoder::string_bytes_max + 1, 'x'))), "too_large");
    EXPECT_EQ(code_of_value("{" + in_quotes(std::string(Decoder::string_bytes_max + 1, 'x')) + ":1}"), "too_large");
}

TEST_F(Strictness, RefusesAnEventOfTooManyBytes)
{
    auto event = envelope("free", "{}").text();
    event.resize(Decoder::event_bytes_max, ' ');
    EXPECT_EQ(code(event), "");

    auto const error = decode(event + ' ');

    ASSERT_TRUE(error);
    EXPECT_FALSE(error->is_json);
    EXPECT_EQ(error->code, "too_large");
}

TEST_F(Strictness, KeepsTextsOfEscapesWithinItsBuffersAtTheLargestSize)
{
    // Many strings with escapes, read twice because the payload stands before the type.
    std::string elements;
    while (elements.size() < Decoder::event_bytes_max - 1'000)
        elements += R"("\u0041)" + std::string(200, 'b') + R"(",)";
    auto const payload = relationship().with("more", '[' + elements + "0]").text();

    accept("{\"payload\":" + payload + R"(,"event_type":"relationship.created","did":"did:plc:owner"})");
}

TEST_F(Strictness, SaysWhereTheTextIsNotJson)
{
    auto const error = decode(R"({"event_type":"free" "payload":{}})");

    ASSERT_TRUE(error);
    EXPECT_FALSE(error->is_json);
    EXPECT_TRUE(error->errors.empty());
    EXPECT_NE(error->detail.find("at byte 21"), std::string::npos) << error->detail;
}

TEST_F(Strictness, ComesBeforeWhatTheEventSays)
{
    EXPECT_EQ(code(R"({"unknown":1,"payload":{"a":1,"a":2}})"), "duplicate_member");
    EXPECT_EQ(code(R"({"event_type":"relationship.created","payload":{"strength":1000,"x":01}})"), "bad_json");
}

// Random texts, judged by another parser and the rules this one adds.
class Judge : public nlohmann::json_sax<nlohmann::json> {
public:
    static bool accepts(std::string const& text)
    {
        Judge judge;
        return nlohmann::json::sax_parse(text, &judge);
    }

    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, string_t const& text) override
    {
        return text.find_first_of(".eE") != std::string::npos;  // else an integer of more than 64 bits
    }
    bool string(string_t&) override { return true; }
    bool binary(binary_t&) override { return true; }
    bool start_object(std::size_t) override { return open(); }
    bool key(string_t& name) override { return names_.back().insert(name).second; }
    bool end_object() override { return close(); }
    bool start_array(std::size_t) override { return open(); }
    bool end_array() override { return close(); }
    bool parse_error(std::size_t, std::string const&, nlohmann::detail::exception const&) override { return false; }

private:
    bool open()
    {
        names_.emplace_back();
        return names_.size() <= Decoder::depth_max;
    }
    bool close()
    {
        names_.pop_back();
        return true;
    }

    std::vector<std::set<std::string>> names_;
};

class Texts {
public:
    explicit Texts(std::uint64_t seed) : random_(seed) {}

    std::string payload() { return object(0); }

    std::string damaged(std::string text)
    {
        static constexpr std::string_view bytes = "{}[]\",:\\ 0123456789.-+eEtrufalsn\n\t\x01\x7F\x80\xC3\xED\xFF/";
        for (auto changes = 1 + pick(3); changes > 0; --changes) {
            auto const at = pick(text.size() + 1);
            switch (pick(4)) {
            case 0: text.insert(at, 1, bytes[pick(bytes.size())]); break;
            case 1: text.erase(at, 1 + pick(3)); break;
            case 2:
                if (at < text.size()) text[at] = bytes[pick(bytes.size())];
                break;
            default: text.insert(at, text.substr(pick(text.size() + 1), pick(12)));
            }
        }
        return text;
    }

    std::size_t pick(std::size_t count) { return random_() % count; }

private:
    std::string value(std::size_t depth)
    {
        switch (pick(depth > 5 ? 5 : 7)) {
        case 0: return one_of({"null", "true", "false"});
        case 1: return std::to_string(static_cast<std::int64_t>(random_()) >> pick(63));
        case 2: return one_of({"0", "-0", "1.5", "-2e7", "1E-3", "1e400", "1e-400", "0.1e+1"});
        case 3:
        case 4: return string();
        case 5: return array(depth + 1);
        default: return object(depth + 1);
        }
    }
    std::string string()
    {
        std::string text;
        for (auto parts = pick(4); parts > 0; --parts)
            text += one_of(
                {"a", "key", "\\n", "\\u00e9", "\\ud83d\\ude00", "\\\"", "\\\\", "\xC3\xA9", "{", "]", ",", ":"});
        return in_quotes(text);
    }
    std::string array(std::size_t depth)
    {
        std::string text;
        for (auto count = pick(5); count > 0; --count)
            text += value(depth) + (count > 1 ? blank() + "," + blank() : "");
        return "[" + blank() + text + blank() + "]";
    }
    std::string object(std::size_t depth)
    {
        std::string text;
        for (auto count = pick(5); count > 0; --count)
            text += in_quotes("k" + std::to_string(pick(40))) + blank() + ":" + blank() + value(depth) +
                    (count > 1 ? "," + blank() : "");
        return "{" + blank() + text + blank() + "}";
    }
    std::string blank() { return one_of({"", "", "", " ", "\n", "\t\r"}); }
    std::string one_of(std::initializer_list<char const*> texts) { return texts.begin()[pick(texts.size())]; }

    std::mt19937_64 random_;
};

TEST_F(Strictness, AgreesWithAnotherStrictParserOnRandomTexts)
{
    std::uint64_t const seed = 20260101;
    SCOPED_TRACE(seed);
    Texts       texts(seed);
    std::size_t accepted = 0, refused = 0;
    for (int round = 0; round < 60'000; ++round) {
        auto payload = texts.payload();
        if (texts.pick(2)) payload = texts.damaged(payload);
        auto const event = R"({"event_type":"free","did":"did:plc:a","payload":)" + payload + "}";

        auto const error = decode(event);

        bool const is_accepted = !error || error->is_json;
        ASSERT_EQ(is_accepted, Judge::accepts(event))
            << event << (error ? " " + error->code + " " + error->detail : "");
        ++(is_accepted ? accepted : refused);
        if (out_.size() > 1'000'000) out_.clear();
    }
    EXPECT_GT(accepted, 10'000u);
    EXPECT_GT(refused, 10'000u);
}

class Splitting : public DecoderTest {
protected:
    std::vector<std::string> split(std::string_view json, std::size_t portion = 1'000)
    {
        std::vector<std::string> elements;
        ArraySplitter            splitter(json);
        using Step = ArraySplitter::Step;
        for (;;) {
            auto       budget = portion;
            auto const step = splitter.next(budget);
            if (step == Step::element) elements.emplace_back(splitter.element());
            if (step == Step::refused) return {"refused"};
            if (step == Step::end) return elements;
        }
    }
    using Texts = std::vector<std::string>;
};

TEST(Lines, EndAtLfOrCrLfOrTheEndOfTheText)
{
    auto const lines = [](std::string_view text) {
        std::vector<std::string_view> all;
        for (std::size_t at = 0; at < text.size();) all.push_back(take_line(text, at));
        return all;
    };
    using Lines = std::vector<std::string_view>;
    EXPECT_EQ(lines("a\r\nb\n\r\n\nc"), (Lines{"a", "b", "", "", "c"}));
    EXPECT_EQ(lines("a\rb\r\r\n"), (Lines{"a\rb\r"}));
    EXPECT_EQ(lines("\n"), (Lines{""}));
    EXPECT_EQ(lines(""), Lines{});
}

TEST_F(Splitting, FindsTheElementsOfAnArray)
{
    EXPECT_EQ(split(R"([{"a":1},{"b":[1,2]}])"), (Texts{R"({"a":1})", R"({"b":[1,2]})"}));
    EXPECT_EQ(split(" [ 1 ,\n{ } ] \n"), (Texts{"1", "{ }"}));
    EXPECT_EQ(split("[]"), Texts{});
    EXPECT_EQ(split("[ \n ]"), Texts{});
}

TEST_F(Splitting, LooksThroughStrings)
{
    EXPECT_EQ(split(R"(["],[","\"],[\\","\\\"",2])"), (Texts{R"("],[")", R"("\"],[\\")", R"("\\\"")", "2"}));
}

TEST_F(Splitting, LeavesTheInsideOfElementsToDecode)
{
    EXPECT_EQ(split(R"([{"a":1],nope])"), (Texts{R"({"a":1])", "nope"}));
}

TEST_F(Splitting, RefusesWhatIsNotAnArray)
{
    for (auto const* const text :
         {"", " ", "[", "]", "{}", "1", "[1", "[1,]", "[,1]", "[,]", "[1]]", "[1][2]", "[1],", "[\"a]", "[[1]", "[1}",
          "[1}]", "[1]x", "[\"\\\"]"})
        EXPECT_EQ(split(text), Texts{"refused"}) << text;
}

TEST_F(Splitting, IsTheSameInPortionsOfAnySize)
{
    std::string_view const json = R"( [ {"a":"b\"]"} , [1,[2,"\\"]],"\\\"," ,3] )";
    auto const             elements = split(json);
    ASSERT_EQ(elements.size(), 4u);
    for (std::size_t portion = 1; portion < json.size(); ++portion) EXPECT_EQ(split(json, portion), elements);
}

}  // namespace
}  // namespace sluice::schema::test
