package domain

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var someFormats = []Format{
	{Prefix: "kt_live_", Alphabet: Base62, Length: 32, Checksum: CRC32, Shown: 4},
	{Prefix: "pingd-", Alphabet: Hex, Length: 32, Shown: 4},
	{Prefix: "pk_", Alphabet: Base36, Length: 32, Checksum: CRC32},
	{Prefix: "pw_", Environments: []Environment{{"live", "live_"}, {"test", "test_"}}, Alphabet: Base62, Length: 24, Shown: 8},
	{Alphabet: Base32, Length: 26, Checksum: CRC32, Shown: 2},
}

// mint is the secret that a shape makes of random bytes.
func mint(t *rapid.T, s *Shape) string {
	n := s.RandomBytes()
	return s.Mint(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "random")).Reveal()
}

func TestMintedSecretsMatchAndTyposDoNot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(someFormats).Draw(t, "format")
		s := rapid.SampledFrom(f.Shapes()).Draw(t, "shape")
		text := mint(t, &s)
		pattern := regexp.MustCompile("^" + regexp.QuoteMeta(s.Head) + "[" + f.Alphabet.characters() + "]*$")
		if !s.Matches(text) || len(text) != s.Size() || !pattern.MatchString(text) {
			t.Fatalf("minted %q", text)
		}
		if shown := s.DisplayPrefix(NewSecret(text)); !strings.HasPrefix(text, shown) || len(shown) != len(s.Head)+f.Shown {
			t.Fatalf("%q is shown of %q", shown, text)
		}
		at := rapid.IntRange(len(s.Head), len(text)-1).Draw(t, "at")
		other := rapid.SampledFrom([]byte("0123456789abcXYZ#")).Draw(t, "other")
		typo := text[:at] + string(other) + text[at+1:]
		if legal := f.Checksum == "" && strings.IndexByte(f.Alphabet.characters(), other) >= 0; typo != text && s.Matches(typo) != legal {
			t.Fatalf("%q, a typo of %q: %v", typo, text, !legal)
		}
		for _, noise := range []string{"", text[1:], text + "0", strings.ToUpper(text[:1]) + "#" + text[2:]} {
			if s.Matches(noise) {
				t.Fatalf("%q matches", noise)
			}
		}
	})
}

func TestChecksumsOfTheDefaultFormatAreWhatTheyWere(t *testing.T) {
	s := someFormats[0].Shapes()[0]
	if got := s.Mint(make([]byte, 32)).Reveal(); got != "kt_live_"+strings.Repeat("0", 32)+"0g5E9R" && !s.Matches(got) {
		t.Errorf("minted %s", got)
	}
	if s.RandomBytes() != 32 {
		t.Errorf("%d random bytes", s.RandomBytes())
	}
}

func TestFormatsHave128RandomBits(t *testing.T) {
	for alphabet, least := range map[Alphabet]int{Hex: 32, Base32: 26, Base36: 25, Base62: 22} {
		if err := (Format{Alphabet: alphabet, Length: least}).check(); err != nil {
			t.Errorf("%d of %s: %v", least, alphabet, err)
		}
		err := (Format{Alphabet: alphabet, Length: least - 1}).check()
		if err == nil || !strings.Contains(err.Error(), "at least "+itoa(least)) {
			t.Errorf("%d of %s: %v", least-1, alphabet, err)
		}
	}
}

func TestOverlaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(someFormats).Draw(t, "f")
		g := f
		g.Prefix = rapid.StringMatching(`[a-z_]{0,6}`).Draw(t, "prefix")
		g.Alphabet = rapid.SampledFrom(Alphabets).Draw(t, "alphabet")
		g.Checksum = ""
		g.Length = max(1, f.Length+len(f.Prefix)-len(g.Prefix))
		s, u := f.Shapes()[0], g.Shapes()[0]
		text := mint(t, &s)
		if u.Matches(text) && !s.overlaps(&u) {
			t.Fatalf("%q has both shapes", text)
		}
		if !s.overlaps(&s) || s.overlaps(&u) != u.overlaps(&s) {
			t.Fatal("an overlap goes both ways, and with itself")
		}
	})
}

func FuzzShape(f *testing.F) {
	f.Add("pw_live_x")
	all := NewKeyspaces(nil)
	f.Fuzz(func(t *testing.T, s string) { all.Possible("", s) })
}
