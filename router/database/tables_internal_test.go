package database

import (
	"slices"
	"testing"
	"time"

	"ringway/router/ring"
)

// A read that was torn twice by one replica must not go there a third time
// because the other failed too, long ago.
func TestChoices_OfThoseThatFailedTheOneThatIsDueFirst(t *testing.T) {
	members := []ring.Member{{Name: "a", ID: 1, Weight: 1}, {Name: "b", ID: 2, Weight: 1}, {Name: "c", ID: 3, Weight: 1}}
	table, err := ring.Balanced(slotsOfShard, members, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &shard{table: table, others: []*replica{{server: "d"}}}
	for _, m := range members {
		s.ready = append(s.ready, &replica{server: m.Name})
	}
	now := time.Unix(1000, 0)
	s.ready[0].failed(2*time.Second, now)
	s.ready[2].failed(time.Second, now)
	for range 50 {
		var got []string
		for _, r := range s.choices(now) {
			got = append(got, r.server)
		}
		if want := []string{"b", "c", "a", "d"}; !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}
