package catalog

import (
	"slices"
	"testing"
	"time"

	"ringway/router/ring"
)

// A read that one replica cut off twice must not go there a third time
// because the other failed too, long ago.
func TestChoices_OfThoseThatFailedTheOneThatIsDueFirst(t *testing.T) {
	members := []ring.Member{{Name: "a", ID: 1, Weight: 1}, {Name: "b", ID: 2, Weight: 1}, {Name: "c", ID: 3, Weight: 1}}
	table, err := ring.Balanced(slotsOfShard, members, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &Shard{slots: table, others: []*Replica{{Server: "d"}}}
	for _, m := range members {
		s.ready = append(s.ready, &Replica{Server: m.Name, avoidFor: time.Second})
	}
	now := time.Unix(1000, 0)
	s.ready[0].avoidFor = 2 * time.Second
	s.ready[0].Failed(now)
	s.ready[2].Failed(now)
	for range 50 {
		var got []string
		for _, r := range s.Choices(now) {
			got = append(got, r.Server)
		}
		if want := []string{"b", "c", "a", "d"}; !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}
