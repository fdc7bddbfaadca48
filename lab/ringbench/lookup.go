package main

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	peer "github.com/buraksezer/consistent"
	"github.com/serialx/hashring"
	"github.com/zeebo/xxh3"
	stathat "stathat.com/c/consistent"

	"ringway/router/ring"
)

const keyCount = 1024 // a power of two

// route is what a router loads for each request.
type route struct {
	table     *ring.Table
	addresses []string
}

// contender looks up n keys in one call, so that the call costs nothing.
type contender struct {
	name    string
	members int
	run     func(n int)
	ns      []float64 // for each lookup, by round
}

var sink int

func lookups(quick bool) error {
	rounds, each := 31, 20*time.Millisecond
	if quick {
		rounds, each = 11, 8*time.Millisecond
	}
	var all []*contender
	for _, n := range []int{3, 100, 10_000} {
		c, err := contenders(n)
		if err != nil {
			return err
		}
		all = append(all, c...)
	}
	for _, c := range all {
		c.measure(each) // warm up
	}
	for round := range rounds {
		for i := range all {
			c := all[(i+round)%len(all)]
			c.ns = append(c.ns, c.measure(each))
		}
	}
	fmt.Printf("\nLookup of a 32-byte key: hash, slot, address. %d rounds, interleaved: median (least–most)\n\n", rounds)
	w := table()
	fmt.Fprintln(w, "members\twhat\tns\ttimes ringway")
	var ours, bare []*contender
	var us *contender
	for _, c := range all {
		switch c.name {
		case "ringway":
			us = c
			ours = append(ours, c)
		case "ringway, hash given":
			bare = append(bare, c)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", c.members, c.name, spread(c.ns), spread(ratios(c.ns, us.ns)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	last := len(ours) - 1
	fmt.Printf("\nringway at %d members ÷ at %d: %s; with the hash given: %s\n", ours[last].members, ours[0].members,
		spread(ratios(ours[last].ns, ours[0].ns)), spread(ratios(bare[last].ns, bare[0].ns)))
	return nil
}

// measure runs for about d and returns nanoseconds a lookup: the median of many
// batches, for other processes interrupt some.
func (c *contender) measure(d time.Duration) float64 {
	const batch = 1024
	var ns []float64
	for start := time.Now(); len(ns) == 0 || time.Since(start) < d; {
		begin := time.Now()
		c.run(batch)
		ns = append(ns, float64(time.Since(begin).Nanoseconds())/batch)
	}
	slices.Sort(ns)
	return ns[len(ns)/2]
}

type named string

func (n named) String() string { return string(n) }

type xxh3Hasher struct{}

func (xxh3Hasher) Sum64(b []byte) uint64 { return xxh3.Hash(b) }

// contenders are all that can look up n members. Peers get what suits them:
// few points a member at 10,000, which makes their search shorter, and our hash
// where they let one choose.
func contenders(n int) ([]*contender, error) {
	keys, strings, hashes := makeKeys()
	size, points := 16384, 20
	if n > 1000 {
		size, points = ring.MaxSize, 1
	}
	t, err := ring.Balanced(size, members(n), nil)
	if err != nil {
		return nil, err
	}
	addresses := make([]string, n)
	names := make([]string, n)
	peers := make([]peer.Member, n)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("10.%d.%d.%d:8080", i>>16, i>>8&255, i&255)
		names[i] = addresses[i]
		peers[i] = named(addresses[i])
	}
	all := []*contender{ours(t, addresses, keys), given(t, addresses, hashes), locked(t, addresses, keys)}
	for _, partitions := range []int{271, size} { // 271 is its default
		if partitions >= n {
			config := peer.Config{Hasher: xxh3Hasher{}, PartitionCount: partitions, ReplicationFactor: points, Load: 1.25}
			all = append(all, &contender{name: fmt.Sprintf("buraksezer/consistent, %d partitions", partitions), run: buraksezer(peer.New(peers, config), keys)})
		}
	}
	sh := stathat.New()
	sh.NumberOfReplicas = points
	sh.Set(names)
	all = append(all, &contender{name: "stathat/consistent", run: func(n int) {
		for i := range n {
			address, _ := sh.Get(strings[i%keyCount])
			sink += len(address)
		}
	}})
	sx := hashring.New(names)
	all = append(all, &contender{name: "serialx/hashring", run: func(n int) {
		for i := range n {
			address, _ := sx.GetNode(strings[i%keyCount])
			sink += len(address)
		}
	}})
	for _, c := range all {
		c.members = n
	}
	return all, nil
}

func ours(t *ring.Table, addresses []string, keys [][]byte) *contender {
	var current atomic.Pointer[route]
	current.Store(&route{table: t, addresses: addresses})
	return &contender{name: "ringway", run: func(n int) {
		sum := 0
		for i := range n {
			r := current.Load()
			sum += len(r.addresses[r.table.Owner(r.table.Slot(xxh3.Hash(keys[i%keyCount])))])
		}
		sink += sum
	}}
}

func given(t *ring.Table, addresses []string, hashes []uint64) *contender {
	var current atomic.Pointer[route]
	current.Store(&route{table: t, addresses: addresses})
	return &contender{name: "ringway, hash given", run: func(n int) {
		sum := 0
		for i := range n {
			r := current.Load()
			sum += len(r.addresses[r.table.Owner(r.table.Slot(hashes[i%keyCount]))])
		}
		sink += sum
	}}
}

// locked is what one writes first: a map from slot to address and a lock.
func locked(t *ring.Table, addresses []string, keys [][]byte) *contender {
	var mu sync.RWMutex
	slots := map[int]string{}
	for s := range t.Size() {
		slots[s] = addresses[t.Owner(s)]
	}
	size := uint64(t.Size())
	return &contender{name: "map and RWMutex", run: func(n int) {
		for i := range n {
			slot := int(xxh3.Hash(keys[i%keyCount]) % size)
			mu.RLock()
			address := slots[slot]
			mu.RUnlock()
			sink += len(address)
		}
	}}
}

func buraksezer(c *peer.Consistent, keys [][]byte) func(int) {
	return func(n int) {
		for i := range n {
			sink += len(c.LocateKey(keys[i%keyCount]).(named))
		}
	}
}

func makeKeys() (keys [][]byte, strings []string, hashes []uint64) {
	random := rand.NewChaCha8([32]byte{1})
	for range keyCount {
		var raw [16]byte
		_, _ = random.Read(raw[:]) // never fails
		s := hex.EncodeToString(raw[:])
		keys, strings, hashes = append(keys, []byte(s)), append(strings, s), append(hashes, xxh3.HashString(s))
	}
	return keys, strings, hashes
}
