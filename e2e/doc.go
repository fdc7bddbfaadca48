// Package e2e tests whole clusters, and what becomes of them under faults. Its
// tests start the program as a user does; what they need for that is in files
// of the same package; checkers of what a database did are in check beside it.
//
// It also holds the rules of the repository itself: imports, sizes, and what
// the documentation names.
package e2e
