package mysql

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"ringway/events"
	"ringway/shard/state"
)

const (
	createCatalogue = "CREATE TABLE IF NOT EXISTS ringway_replicas (" +
		"name VARBINARY(64) NOT NULL PRIMARY KEY, tbl VARBINARY(48) NOT NULL, shard VARBINARY(48) NOT NULL, spec MEDIUMBLOB NOT NULL, " +
		"incarnation VARBINARY(64) NOT NULL, seq BIGINT UNSIGNED NOT NULL, batch VARBINARY(64) NOT NULL, clock BIGINT NOT NULL, " +
		"copying TINYINT NOT NULL) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
	putCatalogue    = "REPLACE INTO ringway_replicas (name, tbl, shard, spec, incarnation, seq, batch, clock, copying) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)"
	markComplete    = "UPDATE ringway_replicas SET copying = 0 WHERE name = ?"
	markCopying     = "UPDATE ringway_replicas SET copying = 1 WHERE name = ?"
	deleteCatalogue = "DELETE FROM ringway_replicas WHERE name = ?"
	listCatalogue   = "SELECT spec, incarnation, seq, batch, copying FROM ringway_replicas ORDER BY name"
	findCatalogue   = "SELECT spec, incarnation, seq, batch, copying FROM ringway_replicas WHERE name = ?"
)

// tableName is the table with a shard's rows: StudT$sh1. MySQL's names have at
// most 64 bytes, and ours may have a suffix; what is longer is cut and has
// a digest at its end.
func tableName(table, shard string) string {
	name := table + "$" + shard
	if len(name) <= 54 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return table[:min(len(table), 24)] + "$" + shard[:min(len(shard), 16)] + "$" + hex.EncodeToString(sum[:6])
}

func resultsTable(name string) string { return name + "$results" }
func keysTable(name string) string    { return name + "$keys" }

func createTables(name string, schema *events.Schema) []string {
	const options = ") ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
	var rows strings.Builder
	rows.WriteString("CREATE TABLE " + dialect.Name(name) + " (" + dialect.Name(schema.KeyColumn()) + " BIGINT NOT NULL PRIMARY KEY")
	for i, column := range schema.Columns[1:] {
		kind := " TEXT NOT NULL"
		if schema.DTypes[i+1] == events.DTypeNumber {
			kind = " DECIMAL(65,30) NOT NULL"
		}
		rows.WriteString(", " + dialect.Name(column) + kind)
	}
	rows.WriteString(", " + dialect.Name(state.KindsColumn) + " VARBINARY(64) NOT NULL" + options)
	return []string{
		rows.String(),
		"CREATE TABLE " + dialect.Name(resultsTable(name)) + " (at BIGINT NOT NULL, batch VARBINARY(64) NOT NULL, seq BIGINT UNSIGNED NOT NULL, " +
			"ops INT NOT NULL, notable MEDIUMBLOB NOT NULL, PRIMARY KEY (at, batch), UNIQUE KEY batch (batch)" + options,
		"CREATE TABLE " + dialect.Name(keysTable(name)) + " (name VARBINARY(255) NOT NULL PRIMARY KEY, body VARBINARY(64) NOT NULL, " +
			"at BIGINT NOT NULL, op VARBINARY(160) NOT NULL, first MEDIUMBLOB NOT NULL, KEY at (at)" + options,
	}
}

func dropTables(name string) []string {
	return []string{
		"DROP TABLE IF EXISTS " + dialect.Name(name),
		"DROP TABLE IF EXISTS " + dialect.Name(resultsTable(name)),
		"DROP TABLE IF EXISTS " + dialect.Name(keysTable(name)),
	}
}
