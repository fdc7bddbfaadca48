// Package timers has a process wake up less often.
//
// While a Go process does something, the runtime's monitor (sysmon) sleeps 20 µs
// at a time, beside every other thread. The kernel makes of that what it makes
// of any sleep, 20 µs and up to the timer slack of the thread, 50 µs unless
// told: 70. A process that works a little, a thousand times a second, as all of
// ours do under load, so wakes up ten thousand times a second to find nothing
// to do. With a slack of half a millisecond the monitor is one that looks less
// often, and every other timer is up to that late.
//
// It imports only the standard library and golang.org/x/sys; keep it that way.
package timers
