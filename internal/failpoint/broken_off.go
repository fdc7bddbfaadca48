//go:build !broken

package failpoint

// Broken reports whether a promise shall be broken here on purpose, which no
// build but that of the tests of the fault tests does.
func Broken(string) bool { return false }
