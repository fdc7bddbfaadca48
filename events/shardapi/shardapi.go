// Package shardapi is the HTTP API of shard servers, for routers and other shard
// servers: paths, the lines of answers, reads by key and copies.
package shardapi

import "strconv"

// Prefix begins the native API of a shard server, for routers and other shard servers. Every
// call names the log that the caller believes in: another one is 409, and so is
// a shard that the server does not hold. A replica that cannot answer now is
// 503; both with the body of a StatusError. Answers of rows are lines of JSON
// objects in the order of keys, and end with a line of End: an answer
// without one was cut off. Those of a range begin with a line of Seq.
//
//	GET  /v1/tables/<table>/shards/<shard>/rows?log=…&floor=…&low=…&high=…   rows from low to high, both included
//	POST /v1/get                                                [GetPart, …] → rows by key; see GetPath
//	GET  /v1/tables/<table>/shards/<shard>/ops/<batch>?log=…    Results; 404: not applied here, or forgotten
//	GET  /v1/tables/<table>/shards/<shard>/copy?log=…           a line CopyHead, lines CopyItem, End
//	GET  /v1/status                                             ShardHeartbeat
//
// A read waits until the replica has applied floor, which is a seq, and is 503
// if that takes long.
const Prefix = "/v1/tables/"

// Path is the path of one thing of a shard: "rows", "copy" or
// "ops/<batch>".
func Path(table, shard, thing string) string {
	return Prefix + table + "/shards/" + shard + "/" + thing
}

// End begins the last line of an answer of many lines: "#<seq> <lines>",
// the seq at which all lines were read and how many there were before.
const End = '#'

// Seq begins the first line of the rows of a range, if there are any:
// "@<seq>", the seq that the last line has too. Who passes on rows before the
// end has then shown that seq.
const Seq = '@'

// AppendSeq writes the first line.
func AppendSeq(to []byte, seq uint64) []byte {
	return append(strconv.AppendUint(append(to, Seq), seq, 10), '\n')
}

// AppendEnd writes the last line.
func AppendEnd(to []byte, seq uint64, lines int) []byte {
	to = append(strconv.AppendUint(append(to, End), seq, 10), ' ')
	return append(strconv.AppendInt(to, int64(lines), 10), '\n')
}
