// simdjson's readers behind the interface that peer-bench loads: one shared library for each version of simdjson, so that several
// can be measured in one run. Built by `make bench-peers` against headers and a library that lie outside this repository.
#include <simdjson.h>

#include <cstdint>
#include <string>
#include <cstring>

// SIMDJSON_VERSION is a bare 3.0.1 in some releases and a string in others.
#define PEER_TEXT_OF(x) #x
#define PEER_TEXT(x) PEER_TEXT_OF(x)

using namespace simdjson;

namespace {

// The 13 fields, as peer-bench numbers them.
enum {
    type, timestamp, bridge_id, channel_id, channel_name, channel_state, channel_creationtime, caller_number, caller_name,
    connected_number, dialplan_context, dialplan_exten, linkedid, field_count
};

struct range {
    uint32_t offset, count;
};

ondemand::parser lazy;
dom::parser whole;

// How much is looked at. Raw: where a value begins and how long its text is, up to the next token; nothing of it is checked or decoded.
// Strings: the fields as their user gets them, checked, escapes resolved. Every: the same, and all other keys and values are read as well, so
// that the whole text is checked, as our scanner and the tree do.
enum class look { raw, strings, every };

template <look how> void note(range *fields, int field, const char *base, ondemand::value value) {
    if (how == look::raw) {
        std::string_view text = value.raw_json_token();
        fields[field] = {uint32_t(text.data() - base), uint32_t(text.size())};
        return;
    }
    std::string_view text;
    if (value.get_string().get(text) == SUCCESS) fields[field] = {1, uint32_t(text.size())};
}

// Reads a value with all that is in it.
void check(ondemand::value value) {
    switch (ondemand::json_type(value.type())) {
    case ondemand::json_type::object:
        for (auto member : value.get_object()) {
            std::string_view key = member.unescaped_key();
            (void)key;
            check(member.value());
        }
        break;
    case ondemand::json_type::array:
        for (auto element : value.get_array()) check(element.value());
        break;
    case ondemand::json_type::number: {
        ondemand::number number = value.get_number();
        (void)number;
        break;
    }
    case ondemand::json_type::string: {
        std::string_view text = value.get_string();
        (void)text;
        break;
    }
    case ondemand::json_type::boolean: {
        bool flag = value.get_bool();
        (void)flag;
        break;
    }
    default:
        if (!bool(value.is_null())) throw simdjson_error(INCORRECT_TYPE);
    }
}

template <look how> void pass(ondemand::value value) {
    if (how == look::every) check(value);
}

// Keys are compared as they stand, in the order in which Asterisk writes the members, which is simdjson's fastest way.
template <look how, class Field> struct name {
    ondemand::raw_json_string key;
    explicit name(Field &field) : key(field.key()) {}
    bool operator==(std::string_view text) const { return key.unsafe_is_equal(text); }
};
// Where all is read, they are unescaped, and so checked.
template <class Field> struct name<look::every, Field> {
    std::string_view key;
    explicit name(Field &field) : key(field.unescaped_key()) {}
    bool operator==(std::string_view text) const { return key == text; }
};

template <look how> void read_channel(range *fields, const char *base, ondemand::object channel) {
    for (auto member : channel) {
        name<how, decltype(member)> key{member};
        ondemand::value value = member.value();
        if (key == "id") note<how>(fields, channel_id, base, value);
        else if (key == "name") note<how>(fields, channel_name, base, value);
        else if (key == "state") note<how>(fields, channel_state, base, value);
        else if (key == "caller") {
            for (auto inner : value.get_object()) {
                name<how, decltype(inner)> key{inner};
                if (key == "number") note<how>(fields, caller_number, base, inner.value());
                else if (key == "name") note<how>(fields, caller_name, base, inner.value());
                else pass<how>(inner.value());
            }
        } else if (key == "connected") {
            for (auto inner : value.get_object()) {
                name<how, decltype(inner)> key{inner};
                if (key == "number") note<how>(fields, connected_number, base, inner.value());
                else pass<how>(inner.value());
            }
        } else if (key == "dialplan") {
            for (auto inner : value.get_object()) {
                name<how, decltype(inner)> key{inner};
                if (key == "context") note<how>(fields, dialplan_context, base, inner.value());
                else if (key == "exten") note<how>(fields, dialplan_exten, base, inner.value());
                else pass<how>(inner.value());
            }
        } else if (key == "creationtime") note<how>(fields, channel_creationtime, base, value);
        else if (key == "channelvars") {
            for (auto inner : value.get_object()) {
                name<how, decltype(inner)> key{inner};
                if (key == "CHANNEL(linkedid)") note<how>(fields, linkedid, base, inner.value());
                else pass<how>(inner.value());
            }
        } else pass<how>(value);
    }
}

void note_whole(range *fields, int field, simdjson_result<dom::element> value) {
    std::string_view text;
    if (value.get(text) == SUCCESS) fields[field] = {1, uint32_t(text.size())};
}

// On-demand: UTF-8 is checked in full, the rest of the grammar where it is looked at.
// `text` has SIMDJSON_PADDING readable bytes behind it. Returns 0 when the text was read.
template <look how> int read_lazily(const char *text, size_t count, range *fields) {
    memset(fields, 0, field_count * sizeof(range));
    try {
        ondemand::document document = lazy.iterate(padded_string_view(text, count, count + SIMDJSON_PADDING));
        for (auto member : document.get_object()) {
            name<how, decltype(member)> key{member};
            ondemand::value value = member.value();
            if (key == "type") note<how>(fields, type, text, value);
            else if (key == "timestamp") note<how>(fields, timestamp, text, value);
            else if (key == "channel") read_channel<how>(fields, text, value.get_object());
            else if (key == "bridge") {
                for (auto inner : value.get_object()) {
                    name<how, decltype(inner)> key{inner};
                    if (key == "id") note<how>(fields, bridge_id, text, inner.value());
                    else pass<how>(inner.value());
                }
            } else pass<how>(value);
        }
    } catch (const simdjson_error &) { return 1; }
    return 0;
}

} // namespace

#pragma GCC visibility push(default)
extern "C" {

const char *peer_name() { return "simdjson " PEER_TEXT(SIMDJSON_VERSION); }

const char *peer_kernel() {
    static std::string name = get_active_implementation()->name();
    return name.c_str();
}

int peer_read_raw(const char *text, size_t count, range *fields) { return read_lazily<look::raw>(text, count, fields); }

int peer_read_strings(const char *text, size_t count, range *fields) { return read_lazily<look::strings>(text, count, fields); }

int peer_read_every(const char *text, size_t count, range *fields) { return read_lazily<look::every>(text, count, fields); }

// The tree: checks the whole text, as our scanner does.
int peer_read_whole(const char *text, size_t count, range *fields) {
    memset(fields, 0, field_count * sizeof(range));
    dom::element root;
    if (whole.parse(text, count, false).get(root) != SUCCESS) return 1;
    note_whole(fields, type, root["type"]);
    note_whole(fields, timestamp, root["timestamp"]);
    note_whole(fields, bridge_id, root["bridge"]["id"]);
    dom::element channel;
    if (root["channel"].get(channel) != SUCCESS) return 0;
    note_whole(fields, channel_id, channel["id"]);
    note_whole(fields, channel_name, channel["name"]);
    note_whole(fields, channel_state, channel["state"]);
    note_whole(fields, channel_creationtime, channel["creationtime"]);
    note_whole(fields, caller_number, channel["caller"]["number"]);
    note_whole(fields, caller_name, channel["caller"]["name"]);
    note_whole(fields, connected_number, channel["connected"]["number"]);
    note_whole(fields, dialplan_context, channel["dialplan"]["context"]);
    note_whole(fields, dialplan_exten, channel["dialplan"]["exten"]);
    note_whole(fields, linkedid, channel["channelvars"]["CHANNEL(linkedid)"]);
    return 0;
}
}
