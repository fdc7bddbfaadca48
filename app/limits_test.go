package app_test

import (
	"testing"

	"ringway/router"
	"ringway/shard"
)

// A read of a long range has the shards that come next stream already. Where all
// are on one server there is room for that, and for another reader.
func TestLimits_OneServerStreamsWhatARouterAsksForAtOnce(t *testing.T) {
	if ahead := router.DefaultConfig().Database.Read.Ahead; 2*ahead > shard.MaxStreams {
		t.Errorf("a router has %d streams open for one read, a shard server %d for all", ahead, shard.MaxStreams)
	}
}
