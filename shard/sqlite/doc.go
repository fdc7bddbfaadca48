// Package sqlite keeps replicas of shards in SQLite, a file each, for machines
// that have no database server.
//
// One connection writes; the others read what it has committed and never wait
// for it. A commit is in the write-ahead file but not synced: DurableThrough
// syncs it, the log of the shard has the rest.
package sqlite
