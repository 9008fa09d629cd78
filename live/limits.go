package live

import (
	"cmp"
	"errors"
	"time"
)

// Defaults of [Limits].
const (
	DefaultRingBytes         = 64 << 20
	DefaultTopicRingBytes    = 1 << 20
	DefaultBehind            = 1000
	DefaultSubscribers       = 10_000
	DefaultTopicSubscribers  = 5_000
	DefaultClientSubscribers = 100
	DefaultSignals           = 1000
	DefaultSignalBytes       = 16 << 20
	DefaultReads             = 4
	DefaultPoll              = 5 * time.Second
	DefaultRecheck           = time.Minute
	DefaultRuleTimeout       = time.Second
)

// Limits bounds what a [Hub] holds and does. A field that is zero takes the
// default of its name.
type Limits struct {
	// RingBytes is how much memory the newest entries of all topics with
	// subscribers may take, and TopicRingBytes those of one. What is not in
	// memory is read from the store.
	RingBytes, TopicRingBytes int

	// Behind is how many entries a subscriber may be behind. Then it is sent
	// a gap in their place.
	Behind int64

	// Subscribers is how many subscriptions there may be, TopicSubscribers
	// those of one topic and ClientSubscribers those of one Options.Client.
	Subscribers, TopicSubscribers, ClientSubscribers int

	// Signals is how many signals a topic may have, and SignalBytes how much
	// memory those of all topics may take.
	Signals, SignalBytes int

	// Reads is how many pages of old entries are read from the store at a
	// time, for all subscribers together.
	Reads int

	// Poll is how often the store is asked whether another process has
	// published.
	Poll time.Duration

	// Recheck is how often the rules of subscriptions are asked again, besides
	// [Hub.Recheck].
	Recheck time.Duration

	// RuleTimeout is how long a rule may take. Then the subscription ends.
	RuleTimeout time.Duration
}

func (l *Limits) setDefaults() error {
	if min(l.RingBytes, l.TopicRingBytes, l.Subscribers, l.TopicSubscribers, l.ClientSubscribers, l.Signals, l.SignalBytes, l.Reads) < 0 ||
		min(l.Poll, l.Recheck, l.RuleTimeout) < 0 || l.Behind < 0 {
		return errors.New("live: the fields of Config.Limits must not be negative")
	}
	l.RingBytes = cmp.Or(l.RingBytes, DefaultRingBytes)
	l.TopicRingBytes = cmp.Or(l.TopicRingBytes, DefaultTopicRingBytes)
	l.Behind = cmp.Or(l.Behind, DefaultBehind)
	l.Subscribers = cmp.Or(l.Subscribers, DefaultSubscribers)
	l.TopicSubscribers = cmp.Or(l.TopicSubscribers, DefaultTopicSubscribers)
	l.ClientSubscribers = cmp.Or(l.ClientSubscribers, DefaultClientSubscribers)
	l.Signals = cmp.Or(l.Signals, DefaultSignals)
	l.SignalBytes = cmp.Or(l.SignalBytes, DefaultSignalBytes)
	l.Reads = cmp.Or(l.Reads, DefaultReads)
	l.Poll = cmp.Or(l.Poll, DefaultPoll)
	l.Recheck = cmp.Or(l.Recheck, DefaultRecheck)
	l.RuleTimeout = cmp.Or(l.RuleTimeout, DefaultRuleTimeout)
	return nil
}
