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

// Raw: where a value begins and how long its text is, up to the next token; nothing of it is checked or decoded. Else the string as its user
// gets it: checked, escapes resolved.
template <bool raw> void note(range *fields, int field, const char *base, ondemand::value value) {
    if (raw) {
        std::string_view text = value.raw_json_token();
        fields[field] = {uint32_t(text.data() - base), uint32_t(text.size())};
        return;
    }
    std::string_view text;
    if (value.get_string().get(text) == SUCCESS) fields[field] = {1, uint32_t(text.size())};
}

// Keys are compared as they stand, in the order in which Asterisk writes the members, which is simdjson's fastest way.
bool is(ondemand::raw_json_string key, std::string_view name) { return key.unsafe_is_equal(name); }

template <bool raw> void read_channel(range *fields, const char *base, ondemand::object channel) {
    for (auto member : channel) {
        ondemand::raw_json_string key = member.key();
        ondemand::value value = member.value();
        if (is(key, "id")) note<raw>(fields, channel_id, base, value);
        else if (is(key, "name")) note<raw>(fields, channel_name, base, value);
        else if (is(key, "state")) note<raw>(fields, channel_state, base, value);
        else if (is(key, "caller")) {
            for (auto inner : value.get_object()) {
                ondemand::raw_json_string name = inner.key();
                if (is(name, "number")) note<raw>(fields, caller_number, base, inner.value());
                else if (is(name, "name")) note<raw>(fields, caller_name, base, inner.value());
            }
        } else if (is(key, "connected")) {
            for (auto inner : value.get_object())
                if (is(inner.key(), "number")) note<raw>(fields, connected_number, base, inner.value());
        } else if (is(key, "dialplan")) {
            for (auto inner : value.get_object()) {
                ondemand::raw_json_string name = inner.key();
                if (is(name, "context")) note<raw>(fields, dialplan_context, base, inner.value());
                else if (is(name, "exten")) note<raw>(fields, dialplan_exten, base, inner.value());
            }
        } else if (is(key, "creationtime")) note<raw>(fields, channel_creationtime, base, value);
        else if (is(key, "channelvars")) {
            for (auto inner : value.get_object())
                if (is(inner.key(), "CHANNEL(linkedid)")) note<raw>(fields, linkedid, base, inner.value());
        }
    }
}

void note_whole(range *fields, int field, simdjson_result<dom::element> value) {
    std::string_view text;
    if (value.get(text) == SUCCESS) fields[field] = {1, uint32_t(text.size())};
}

// On-demand: looks at what is on the way to the fields; UTF-8 is checked in full, the rest of the grammar is not.
// `text` has SIMDJSON_PADDING readable bytes behind it. Returns 0 when the text was read.
template <bool raw> int read_lazily(const char *text, size_t count, range *fields) {
    memset(fields, 0, field_count * sizeof(range));
    try {
        ondemand::document document = lazy.iterate(padded_string_view(text, count, count + SIMDJSON_PADDING));
        for (auto member : document.get_object()) {
            ondemand::raw_json_string key = member.key();
            ondemand::value value = member.value();
            if (is(key, "type")) note<raw>(fields, type, text, value);
            else if (is(key, "timestamp")) note<raw>(fields, timestamp, text, value);
            else if (is(key, "channel")) read_channel<raw>(fields, text, value.get_object());
            else if (is(key, "bridge")) {
                for (auto inner : value.get_object())
                    if (is(inner.key(), "id")) note<raw>(fields, bridge_id, text, inner.value());
            }
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

int peer_read_raw(const char *text, size_t count, range *fields) { return read_lazily<true>(text, count, fields); }

int peer_read_strings(const char *text, size_t count, range *fields) { return read_lazily<false>(text, count, fields); }

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
