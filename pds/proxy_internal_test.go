package pds

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// FuzzProxyHeader: what passes is a DID and a name of a service, and nothing of
// the text is lost.
func FuzzProxyHeader(f *testing.F) {
	for _, text := range []string{"did:web:a.example#x", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa#atproto_labeler", "#", "a#b#c", "did:web:a b#c", "did:web:a#%23", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		to, err := parseProxyHeader(text)
		if err != nil {
			return
		}
		if _, e := syntax.ParseDID(string(to.did)); e != nil || to.audience() != text || strings.ContainsAny(to.service, "# /?") || to.url != "" {
			t.Errorf("%q: %+v", text, to)
		}
	})
}

// FuzzAcceptEncoding: what is sent on is one of four texts.
func FuzzAcceptEncoding(f *testing.F) {
	for _, text := range []string{"gzip", "gzip;q=0, *", "identity;q=0", "br;q=NaN", "a;q=1;b", ",", "*;q=0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := negotiateEncoding(map[string][]string{"Accept-Encoding": {text}})
		switch got {
		case "gzip, identity;q=0.5", "gzip, *;q=0", "identity":
			if err != nil {
				t.Error(err)
			}
		case "":
			if err == nil {
				t.Error("neither an encoding nor an error")
			}
		default:
			t.Errorf("%q", got)
		}
	})
}

// FuzzMergedJSON: whatever an answer says, merging fails or gives JSON with all
// of its other fields.
func FuzzMergedJSON(f *testing.F) {
	f.Add(`{"feed":[{"post":{"uri":"at://a","indexedAt":"2024-01-01T00:00:00Z","author":{"did":"did:plc:a"}},"x":1.50}],"more":{"a":"<&>"}}`)
	f.Add(`{"feed":[null,1,{}],"thread":{"replies":[[]]}}`)
	f.Add(`{"thread":{"$type":"app.bsky.feed.defs#threadViewPost","post":{"uri":"at://p","record":{}},"replies":[{"$type":"app.bsky.feed.defs#threadViewPost"}]}}`)
	f.Fuzz(checkMerge)
}

func checkMerge(t *testing.T, text string) {
	var answer jsonObject
	if json.Unmarshal([]byte(text), &answer) != nil || answer == nil {
		return
	}
	before := maps.Clone(answer)
	const did = "did:plc:a"
	m := &merger{
		s:      &Server{public: &url.URL{Scheme: "https", Host: "pds.example.com"}},
		call:   &serviceCall{account: &storage.Account{DID: did, Handle: "a.example.com"}, url: &url.URL{}},
		author: json.RawMessage(`{"did":"did:plc:a","handle":"a.example.com"}`),
		profile: &localRecord{
			value: json.RawMessage(`{"displayName":"A","avatar":{"ref":{"$link":"bafy"}}}`),
		},
	}
	rec := localRecord{uri: "at://did:plc:a/app.bsky.feed.post/x", cid: "bafy", indexedAt: time.Unix(1<<31, 0), value: json.RawMessage(`{"text":"x"}`)}
	rec.post.Reply = &struct {
		Root   struct{ URI string } `json:"root"`
		Parent struct{ URI string } `json:"parent"`
	}{}
	rec.post.Reply.Root.URI, rec.post.Reply.Parent.URI = "at://p", "at://p"
	m.posts = []localRecord{rec}
	ctx := t.Context()
	_, _ = m.mergeAuthors(answer)
	_, _ = m.mergePosts(ctx, answer, nil)
	if thread, changed, err := m.mergeReplies(ctx, answer["thread"]); err == nil && changed {
		answer["thread"] = thread
	}
	out, err := encodeJSON(answer)
	if err != nil || !json.Valid(out) {
		t.Fatalf("%q: %q, %v", text, out, err)
	}
	for name, value := range before {
		if name != "feed" && name != "thread" && !bytes.Equal(answer[name], value) {
			t.Errorf("%q: field %q is now %q", text, name, answer[name])
		}
	}
}
