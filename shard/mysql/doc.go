// Package mysql keeps replicas of shards in MySQL or MariaDB, of which each
// is a table that people can read.
//
// A transaction of Apply begins by moving the position, by compare-and-set:
// that holds the replica's row until the commit, so that a second applier
// waits, then finds itself fenced. Every value travels as a parameter of a
// prepared statement; names are validated by the contract and quoted. The
// server need not sync at a commit: DurableThrough says what it has synced,
// the log has the rest.
package mysql
