package a64

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// samples are arguments that exercise every bit of every field.
func samples(op Op) [][]int {
	places := strings.Count(op.Syntax, "%")
	registers := [][]int{{0, 1, 2}, {31, 0, 0}, {0, 31, 0}, {0, 0, 31}, {21, 10, 26}}
	if strings.Contains(op.Syntax, "w%n") {
		registers[2][1] = 30
	}
	if op.Index == None {
		out := make([][]int, len(registers))
		for i, r := range registers {
			out[i] = r[:places]
		}
		return out
	}
	var out [][]int
	for i := range 32 {
		if _, fits := op.Index.encode(i); fits {
			r := registers[i%len(registers)]
			out = append(out, append(append([]int{}, r[:places-1]...), i))
		}
	}
	return out
}

// known reads testdata/known.txt, words and what GNU as 2.40 (-march=armv8.6-a) makes them from. For a new instruction, assemble
// the texts that TestKnownEncodings misses and add what objdump -d shows.
func known(t *testing.T) map[string]string {
	file, err := os.Open("testdata/known.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	words := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		word, text, _ := strings.Cut(lines.Text(), " ")
		words[text] = word
	}
	return words
}

func TestKnownEncodings(t *testing.T) {
	words := known(t)
	for _, op := range Ops {
		for _, args := range samples(op) {
			word, text, err := Encode(op, args...)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%08x", word); words[text] != got {
				t.Errorf("%s is %s, want %s", text, got, words[text])
			}
		}
	}
}

func TestOutOfRange(t *testing.T) {
	for _, c := range []struct {
		op   Op
		args []int
	}{
		{FADD, []int{32, 0, 0}}, {FADD, []int{0, -1, 0}}, {FADD, []int{0, 0, 32}}, {FADD, []int{0, 0}}, {FADD, []int{0, 0, 0, 0}},
		{SDOTI, []int{0, 0, 0, 4}}, {SDOTI, []int{0, 0, 0, -1}}, {SDOTI, []int{0, 0, 0}},
		{SHL, []int{0, 0, 32}}, {SHL, []int{0, 0, -1}}, {USHR8, []int{0, 0, 0}}, {USHR8, []int{0, 0, 9}},
		{DUPW, []int{0, 31}}, {DUP, []int{0, 0, 4}}, {DUP2D, []int{0, 0, 2}}, {MOV, []int{0}},
	} {
		if word, text, err := Encode(c.op, c.args...); !errors.Is(err, ErrRange) {
			t.Errorf("%q of %v gives %08x, %q, %v", c.op.Syntax, c.args, word, text, err)
		}
	}
}

func TestFileKeepsMistakes(t *testing.T) {
	for _, write := range []func(*Func){
		func(fn *Func) { fn.V(FADD, 0, 0, 32) },
		func(fn *Func) { fn.LoadQ("R0", 8, 1) },
		func(fn *Func) { fn.StoreQ("R0", 0, 32) },
		func(fn *Func) { fn.LoadQ("R0", 16*4096, 1) },
		func(fn *Func) { fn.Arg("y", "R0") },
	} {
		f := NewFile("p", "x")
		write(f.Func("F", "does it.", []string{"x *byte"}))
		if err := f.Write(t.TempDir()); !errors.Is(err, ErrRange) {
			t.Errorf("a mistake gives %v", err)
		}
	}
}

func TestFile(t *testing.T) {
	f, dir := NewFile("p", "x"), t.TempDir()
	fn := f.Func("F", "does it.", []string{"x *byte", "unit float32", "n int"}, "top uint32")
	fn.Args("x R0", "unit R1", "n R2")
	fn.LoadQ("R0", 992, 1, 2, 3)
	fn.V(FADD, 1, 2, 3)
	fn.Return("top R1")
	if err := f.Write(dir); err != nil {
		t.Fatal(err)
	}
	asm, _ := os.ReadFile(dir + "/x_arm64.s")
	want := header + `#include "textflag.h"

// func F(x *byte, unit float32, n int) (top uint32)
TEXT ·F(SB), NOSPLIT, $0-28
	MOVD x+0(FP), R0
	MOVWU unit+8(FP), R1
	MOVD n+16(FP), R2
	FLDPQ 992(R0), (F1, F2)
	FMOVQ 1024(R0), F3
	WORD $0x4e23d441 // fadd v1.4s, v2.4s, v3.4s
	MOVW R1, top+24(FP)
	RET
`
	if string(asm) != want {
		t.Errorf("got\n%s\nwant\n%s", asm, want)
	}
}
