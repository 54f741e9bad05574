package trust

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func newToken(t testing.TB, ca *CA, role Role, uses int) (Token, TokenRecord) {
	t.Helper()
	token, record, err := NewToken(ca.Fingerprint(), role, 0, uses, now)
	if err != nil {
		t.Fatal(err)
	}
	return token, record
}

func TestTokenText(t *testing.T) {
	ca := newCA(t, "c1")
	token, record := newToken(t, ca, Worker, 0)
	if record.Uses != TokenUses || record.Until-record.Made != int64(TokenTTL/time.Second) || record.Role != Worker {
		t.Errorf("record %+v", record)
	}
	for _, text := range []string{token.Text(), " " + token.Text() + "\r\n", strings.ToUpper(token.Text())} {
		if back, err := ParseToken(text); err != nil || back != token {
			t.Errorf("%q came back as %s, %v", text, back.Text(), err)
		}
	}
	secret := token.Text()[strings.LastIndex(token.Text(), ".")+1:]
	if len(secret) != 26 {
		t.Errorf("secret of %d digits", len(secret))
	}
	for _, shown := range []string{fmt.Sprint(token), fmt.Sprintf("%+v %#v", token, token), fmt.Sprintf("%+v", record)} {
		if strings.Contains(shown, secret) || strings.Contains(shown, fmt.Sprint(token.secret)) {
			t.Errorf("%s shows the secret", shown)
		}
	}
}

func TestTokenRefused(t *testing.T) {
	token, _ := newToken(t, newCA(t, "c1"), Worker, 0)
	text := token.Text()
	for _, bad := range []string{
		"", "pn1", "pn1...", "pn2" + text[3:], text[4:], text[:len(text)-1], text + "a", text + ".a", strings.Replace(text, ".", "", 1),
		text[:10] + "1" + text[11:], text[:20] + "é" + text[21:], text + strings.Repeat(" ", TokenTextMax),
		text[:len(text)-1] + "7", // bits behind the last byte
	} {
		_, err := ParseToken(bad)
		if !errors.Is(err, ErrToken) || !strings.Contains(err.Error(), "polynode token create") {
			t.Errorf("%q: %v", bad, err)
		}
		if len(bad) > 60 && strings.Contains(err.Error(), bad[60:]) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	for _, test := range []struct {
		role Role
		ttl  time.Duration
		uses int
	}{{"king", 0, 0}, {Worker, -1, 0}, {Worker, TokenTTLMax + 1, 0}, {Worker, 0, -1}, {Worker, 0, TokenUsesMax + 1}} {
		if _, _, err := NewToken(token.Root, test.role, test.ttl, test.uses, now); !errors.Is(err, ErrToken) {
			t.Errorf("token %+v: %v", test, err)
		}
	}
	if _, _, err := NewToken(token.Root, Witness, TokenTTLMax, TokenUsesMax, now); err != nil {
		t.Error(err)
	}
}

func TestTokenRecordRefused(t *testing.T) {
	_, good := newToken(t, newCA(t, "c1"), Worker, 3)
	if err := good.Valid(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*TokenRecord){
		"no id":        func(r *TokenRecord) { r.ID = "" },
		"a long id":    func(r *TokenRecord) { r.ID = strings.Repeat("a", 16) },
		"no key":       func(r *TokenRecord) { r.Key = "" },
		"half a key":   func(r *TokenRecord) { r.Key = r.Key[:20] },
		"no role":      func(r *TokenRecord) { r.Role = "" },
		"no uses":      func(r *TokenRecord) { r.Uses = 0 },
		"many uses":    func(r *TokenRecord) { r.Uses = TokenUsesMax + 1 },
		"no time":      func(r *TokenRecord) { r.Until = r.Made },
		"much time":    func(r *TokenRecord) { r.Until = r.Made + int64(TokenTTLMax/time.Second) + 1 },
		"no beginning": func(r *TokenRecord) { r.Made = 0 },
		"a use":        func(r *TokenRecord) { r.Used = 1 },
		"revoked":      func(r *TokenRecord) { r.Revoked = true },
	} {
		record := good
		change(&record)
		if err := record.Valid(); !errors.Is(err, ErrToken) {
			t.Errorf("record with %s: %v", name, err)
		}
	}
}

func TestTokenUsable(t *testing.T) {
	_, record := newToken(t, newCA(t, "c1"), Worker, 2)
	for _, test := range []struct {
		change func(*TokenRecord)
		at     int64
		want   error // for a new node
		again  error // for one that asks again
	}{
		{func(*TokenRecord) {}, record.Made, nil, nil},
		{func(*TokenRecord) {}, record.Until, nil, nil},
		{func(*TokenRecord) {}, record.Until + 1, ErrTokenExpired, ErrTokenExpired},
		{func(r *TokenRecord) { r.Used = 1 }, record.Made, nil, nil},
		{func(r *TokenRecord) { r.Used = 2 }, record.Made, ErrTokenUsed, nil},
		{func(r *TokenRecord) { r.Revoked = true }, record.Made, ErrTokenRevoked, ErrTokenRevoked},
	} {
		r := record
		test.change(&r)
		if err := r.Usable(test.at); !errors.Is(err, test.want) || r.Dead(test.at) != (test.want != nil) {
			t.Errorf("%+v at %d: %v", r, test.at, err)
		}
		if err := r.Repeatable(test.at); !errors.Is(err, test.again) {
			t.Errorf("again %+v at %d: %v", r, test.at, err)
		}
	}
}

// What parses is written as the same token; nothing else gets further than ErrToken.
func FuzzToken(f *testing.F) {
	_, _, token, _ := fixed(f)
	f.Add(token.Text())
	f.Add(strings.ToUpper(token.Text()))
	f.Add("pn1...")
	f.Add("pn1." + strings.Repeat("a", 52) + ".aaaaaaaa." + strings.Repeat("a", 26))
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil {
			if !errors.Is(err, ErrToken) {
				t.Fatal(err)
			}
			return
		}
		if token.Text() != strings.ToLower(strings.TrimSpace(text)) {
			t.Fatalf("%q came back as %q", text, token.Text())
		}
		if again, err := ParseToken(token.Text()); err != nil || again != token {
			t.Fatalf("%q: %v", token.Text(), err)
		}
	})
}
