package e2e

import (
	"context"
	"os"
	"testing"

	"ringway/e2e/check"
	"ringway/e2e/writers"
)

// dbTable is how the keys of the fault tests are cut.
var dbTable = writers.Table{Shards: dbShards, Size: dbShardSize}

func isCounter(key int64) bool { return dbTable.IsCounter(key) }

// dbClient speaks to any router.
type dbClient = writers.Client

func newDBClient(url func() string) *dbClient {
	c := writers.NewClient(url, dbTable)
	if os.Getenv(brokenEnv) == "level" {
		c.Level = "eventual"
	}
	return c
}

// setWriters insert rows under keys that no other write has, through one
// client.
type setWriters struct {
	client *dbClient
	writers.Set
}

func (s *setWriters) work(ctx context.Context) func(int) func() bool { return s.Work(ctx, s.client) }

func (s *setWriters) one(ctx context.Context, named bool) bool { return s.Write(ctx, s.client, named) }

func (s *setWriters) fill(t *testing.T, rows, part int) {
	t.Helper()
	s.Fill(t, s.client, rows, part)
}

func (s *setWriters) askOpen(t *testing.T) {
	t.Helper()
	s.AskOpen(t, s.client)
}

func (s *setWriters) check(t *testing.T, found map[int][]check.Replica, other func(key int64) bool) []check.Fault {
	t.Helper()
	return s.Check(t, dbTable, found, other)
}

// counters have one writer each.
type counters struct {
	client *dbClient
	writers.Counters
}

func (c *counters) begin(t *testing.T, n int) {
	t.Helper()
	c.Begin(t, c.client, n)
}

func (c *counters) work(i int) func() bool { return c.Work(c.client)(i) }

func (c *counters) check(t *testing.T, found map[int][]check.Replica) []check.Fault {
	t.Helper()
	return c.Check(t, dbTable, found)
}

// report fails the test for faults.
func report(t *testing.T, faults []check.Fault) {
	t.Helper()
	writers.Report(t, faults)
}
