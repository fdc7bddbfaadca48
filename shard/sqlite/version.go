package sqlite

import "database/sql"

// Version is what this engine is.
func Version() string {
	version := ""
	db, err := sql.Open("sqlite", ":memory:")
	if err == nil {
		defer db.Close()
		err = db.QueryRow("SELECT sqlite_version()").Scan(&version)
	}
	if err != nil {
		return "SQLite"
	}
	return "SQLite " + version
}
