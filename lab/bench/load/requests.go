package load

import "strconv"

// What answers have to contain.
const (
	OneAdded = `"1 Data entries added"`
	OneRow   = `"data":[{`
)

// WriteBody is one row as the course writes it.
func WriteBody(to []byte, key int64) []byte {
	return append(AppendRow(append(to, `{"data":[`...), key), "]}"...)
}

// AppendRow is a row as the course writes it.
func AppendRow(to []byte, key int64) []byte {
	to = strconv.AppendInt(append(to, `{"Stud_id":`...), key, 10)
	to = append(append(to, `,"Stud_name":"`...), StudentName(key)...)
	return append(strconv.AppendInt(append(to, `","Stud_marks":`...), key%101, 10), '}')
}

// StudentName is the name in a row.
func StudentName(key int64) string { return "Student " + strconv.FormatInt(key, 36) }

// ReadBody asks for one row.
func ReadBody(to []byte, key int64) []byte {
	to = strconv.AppendInt(append(to, `{"Stud_id":{"low":`...), key, 10)
	return append(strconv.AppendInt(append(to, `,"high":`...), key, 10), "}}"...)
}
