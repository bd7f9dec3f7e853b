package backup

// SetChunkBytes makes chunks small for a test; what it gives puts them back.
func SetChunkBytes(n int) func() {
	before := chunkBytes
	chunkBytes = n
	return func() { chunkBytes = before }
}
