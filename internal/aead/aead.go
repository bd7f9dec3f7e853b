// Package aead seals texts with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): authenticated
// encryption with additional data, whose nonce of 192 bits is long enough to be drawn at random
// for any number of texts under one key.
package aead

import (
	"crypto/rand"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
)

// A Key is 32 random bytes, or derived.
type Key [chacha20poly1305.KeySize]byte

// ErrNotSealed is a text that was not sealed under this key with this additional data.
var ErrNotSealed = errors.New("it was not sealed with this key and additional data")

// NewKey is a random key.
func NewKey() (k Key) {
	_, _ = rand.Read(k[:]) // it ends the program if it fails
	return k
}

// Seal encrypts text: the nonce, then the ciphertext with its tag. additional is bound to it and
// not kept in it.
func (k Key) Seal(text, additional []byte) []byte {
	c, _ := chacha20poly1305.NewX(k[:]) // only a key of another size is refused
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(text)+chacha20poly1305.Overhead)
	_, _ = rand.Read(nonce)
	return c.Seal(nonce, nonce, text, additional)
}

// Open decrypts what Seal made.
func (k Key) Open(sealed, additional []byte) ([]byte, error) {
	if len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, ErrNotSealed
	}
	c, _ := chacha20poly1305.NewX(k[:])
	text, err := c.Open(nil, sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:], additional)
	if err != nil {
		return nil, ErrNotSealed
	}
	return text, nil
}
