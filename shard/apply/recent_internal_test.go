package apply

import (
	"fmt"
	"testing"

	"ringway/events/shardlog"
)

func TestRecent_IsBoundedAndOldestFirst(t *testing.T) {
	var r recent
	for i := range 3 * recentKept / 2 {
		r.add(publishedResults{writer: fmt.Sprint(i)})
		r.add(publishedResults{writer: "large", results: shardlog.Results{Notable: make([]shardlog.Result, 100)}})
	}
	all := r.since(publishedResults{}.at)
	if len(all) != recentKept || all[0].writer != fmt.Sprint(recentKept/2) || all[len(all)-1].writer != fmt.Sprint(3*recentKept/2-1) {
		t.Errorf("%d, from %s to %s", len(all), all[0].writer, all[len(all)-1].writer)
	}
}
