package live_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// A room with a history. A client shows the newest page, then follows what
// comes after it; when it was away, it resumes where it was.
func Example() {
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	hub := must(live.New(live.Config{Store: storage.DocsOf(store)}))
	defer hub.Close()

	ctx := context.Background()
	const room = "com.example.chat/kitchen"
	if err := hub.Create(ctx, live.Topic{Name: room, Keep: live.Retention{Age: 30 * 24 * time.Hour}}); err != nil {
		log.Fatal(err)
	}
	say := func(text string) live.Entry {
		return must(hub.Publish(ctx, room, map[string]string{"text": text}))
	}
	say("hello")

	page := must(hub.Page(ctx, room, live.Query{Reverse: true}))
	for _, e := range page.Entries {
		fmt.Println("history", e.Seq, string(e.Data))
	}
	cursor := page.Topic.Cursor(page.Topic.Last)

	secret := say("the key is under the mat")
	if err := hub.Redact(ctx, room, secret.Seq); err != nil {
		log.Fatal(err)
	}
	say("bye")

	sub := must(hub.Subscribe(ctx, room, live.Public(), live.Options{Cursor: cursor}))
	defer sub.Close()
	for seen := 0; seen < 3; {
		for _, ev := range must(sub.Next(ctx)) {
			fmt.Println(ev.Kind, ev.Entry.Seq, string(ev.Entry.Data), ev.Entry.Redacted, ev.Entry.Redacts)
			seen++
		}
	}
	// Output:
	// history 1 {"text":"hello"}
	// message 2  true 0
	// redaction 3  false 2
	// message 4 {"text":"bye"} false 0
}

// Whoever is banned is cut off at once, and told why.
func ExampleHub_Recheck() {
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	hub := must(live.New(live.Config{Store: storage.DocsOf(store)}))
	defer hub.Close()
	ctx := context.Background()
	if err := hub.Create(ctx, live.Topic{Name: "com.example.chat/kitchen"}); err != nil {
		log.Fatal(err)
	}

	banned := false
	rule := func(context.Context) error {
		if banned {
			return errors.New("you are banned")
		}
		return nil
	}
	sub := must(hub.Subscribe(ctx, "com.example.chat/kitchen", rule, live.Options{}))
	defer sub.Close()

	banned = true
	hub.Recheck("com.example.chat/kitchen")
	_, err := sub.Next(ctx)
	fmt.Println(err)
	// Output: you are banned
}
