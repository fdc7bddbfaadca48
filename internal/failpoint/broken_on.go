//go:build broken

package failpoint

import "os"

var broken = os.Getenv("BROKEN_RINGWAY") // not RINGWAY_…, which agents keep from instances

// Broken reports whether the promise of that name shall be broken:
//
//	ack       a writer acknowledges what is in no log yet
//	position  a store moves its position before, not with, the rows
//	skip      an applier goes on behind what it could not apply
//	sync      the bus does not sync what it stores
func Broken(promise string) bool { return promise == broken }
