// Package mysql keeps replicas of shards in MySQL or MariaDB, of which each
// is a table that people can read.
//
// A transaction of Apply moves the position by compare-and-set: that holds the
// replica's row until the commit, so that a second applier waits, then finds
// itself fenced. It does so first where something has to be looked up, and last
// where entries only insert. What clients wrote travels as parameters of
// prepared statements; names are validated by the contract and quoted. What
// stands in a statement's text is our own: numbers, and ids in hexadecimal
// digits. MariaDB does a usual batch, from its rows to the commit, as one
// prepared statement. The server need not sync at a commit: DurableThrough says
// what it has synced, the log has the rest.
package mysql
