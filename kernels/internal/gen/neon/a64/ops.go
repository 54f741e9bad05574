package a64

// An Op is a vector instruction in GNU syntax, with %d, %n and %m for the numbers of registers and %i for a lane or a shift, in the
// order in which Encode takes them, and its encoding with zeros in their places.
type Op struct {
	Syntax string
	Base   uint32
	Index  Index
}

// Index is how %i is encoded.
type Index uint8

// The encodings of %i.
const (
	None   Index = 0 // the instruction has no %i
	LaneS  Index = 1 // a 32-bit lane of a by-element operand: bits 11 and 21
	DupS   Index = 2 // a 32-bit lane of DUP
	DupD   Index = 3 // a 64-bit lane of DUP
	Left32 Index = 4 // a left shift of 32-bit lanes
	Right8 Index = 5 // a right shift of 8-bit lanes
)

// Arithmetic on four float32.
var (
	FADD   = Op{Syntax: "fadd v%d.4s, v%n.4s, v%m.4s", Base: 0x4e20d400}
	FSUB   = Op{Syntax: "fsub v%d.4s, v%n.4s, v%m.4s", Base: 0x4ea0d400}
	FMUL   = Op{Syntax: "fmul v%d.4s, v%n.4s, v%m.4s", Base: 0x6e20dc00}
	FDIV   = Op{Syntax: "fdiv v%d.4s, v%n.4s, v%m.4s", Base: 0x6e20fc00}
	FABS   = Op{Syntax: "fabs v%d.4s, v%n.4s", Base: 0x4ea0f800}
	FNEG   = Op{Syntax: "fneg v%d.4s, v%n.4s", Base: 0x6ea0f800}
	FMULI  = Op{Syntax: "fmul v%d.4s, v%n.4s, v%m.s[%i]", Base: 0x4f809000, Index: LaneS}
	FMAXNM = Op{Syntax: "fmaxnm v%d.4s, v%n.4s, v%m.4s", Base: 0x4e20c400} // m where n is a NaN
	FMINNM = Op{Syntax: "fminnm v%d.4s, v%n.4s, v%m.4s", Base: 0x4ea0c400}
	FCMGT  = Op{Syntax: "fcmgt v%d.4s, v%n.4s, v%m.4s", Base: 0x6ea0e400}
	FCMGE  = Op{Syntax: "fcmge v%d.4s, v%n.4s, v%m.4s", Base: 0x6e20e400}
	FCMEQ  = Op{Syntax: "fcmeq v%d.4s, v%n.4s, v%m.4s", Base: 0x4e20e400}
	FCMLT0 = Op{Syntax: "fcmlt v%d.4s, v%n.4s, #0.0", Base: 0x4ea0e800}
)

// Conversions.
var (
	SCVTF  = Op{Syntax: "scvtf v%d.4s, v%n.4s", Base: 0x4e21d800}
	FCVTNS = Op{Syntax: "fcvtns v%d.4s, v%n.4s", Base: 0x4e21a800} // to nearest, ties to even; saturates, a NaN gives 0
	FCVTL  = Op{Syntax: "fcvtl v%d.4s, v%n.4h", Base: 0x0e217800}
	FCVTL2 = Op{Syntax: "fcvtl2 v%d.4s, v%n.8h", Base: 0x4e217800}
	FCVTN  = Op{Syntax: "fcvtn v%d.4h, v%n.4s", Base: 0x0e216800}
	FCVTN2 = Op{Syntax: "fcvtn2 v%d.8h, v%n.4s", Base: 0x4e216800}
	SXTL8  = Op{Syntax: "sxtl v%d.8h, v%n.8b", Base: 0x0f08a400}
	SXTL8H = Op{Syntax: "sxtl2 v%d.8h, v%n.16b", Base: 0x4f08a400}
	SXTL   = Op{Syntax: "sxtl v%d.4s, v%n.4h", Base: 0x0f10a400}
	SXTL2  = Op{Syntax: "sxtl2 v%d.4s, v%n.8h", Base: 0x4f10a400}
)

// Integers.
var (
	ADD   = Op{Syntax: "add v%d.4s, v%n.4s, v%m.4s", Base: 0x4ea08400}
	SUB   = Op{Syntax: "sub v%d.4s, v%n.4s, v%m.4s", Base: 0x6ea08400}
	ADDV  = Op{Syntax: "addv s%d, v%n.4s", Base: 0x4eb1b800}
	UMAX  = Op{Syntax: "umax v%d.4s, v%n.4s, v%m.4s", Base: 0x6ea06400}
	UMAXV = Op{Syntax: "umaxv s%d, v%n.4s", Base: 0x6eb0a800}
	SHL   = Op{Syntax: "shl v%d.4s, v%n.4s, #%i", Base: 0x4f005400, Index: Left32}
	USHR8 = Op{Syntax: "ushr v%d.16b, v%n.16b, #%i", Base: 0x6f000400, Index: Right8}
	SDOT  = Op{Syntax: "sdot v%d.4s, v%n.16b, v%m.16b", Base: 0x4e809400}
	SDOTI = Op{Syntax: "sdot v%d.4s, v%n.16b, v%m.4b[%i]", Base: 0x4f80e000, Index: LaneS}

	USDOTI = Op{Syntax: "usdot v%d.4s, v%n.16b, v%m.4b[%i]", Base: 0x4f80f000, Index: LaneS}
	SMMLA  = Op{Syntax: "smmla v%d.4s, v%n.16b, v%m.16b", Base: 0x4e80a400}
	USMMLA = Op{Syntax: "usmmla v%d.4s, v%n.16b, v%m.16b", Base: 0x4e80ac00}
)

// Bits.
var (
	AND = Op{Syntax: "and v%d.16b, v%n.16b, v%m.16b", Base: 0x4e201c00}
	BIC = Op{Syntax: "bic v%d.16b, v%n.16b, v%m.16b", Base: 0x4e601c00} // n and not m
	ORR = Op{Syntax: "orr v%d.16b, v%n.16b, v%m.16b", Base: 0x4ea01c00}
	EOR = Op{Syntax: "eor v%d.16b, v%n.16b, v%m.16b", Base: 0x6e201c00}
	BIT = Op{Syntax: "bit v%d.16b, v%n.16b, v%m.16b", Base: 0x6ea01c00} // n where m is set, else d
	BIF = Op{Syntax: "bif v%d.16b, v%n.16b, v%m.16b", Base: 0x6ee01c00} // n where m is clear, else d
)

// Moves between lanes.
var (
	MOV     = Op{Syntax: "mov v%d.16b, v%n.16b", Base: 0x4ea01c00}
	DUPW    = Op{Syntax: "dup v%d.4s, w%n", Base: 0x4e040c00}
	DUP     = Op{Syntax: "dup v%d.4s, v%n.s[%i]", Base: 0x4e000400, Index: DupS}
	DUP2D   = Op{Syntax: "dup v%d.2d, v%n.d[%i]", Base: 0x4e000400, Index: DupD}
	DUPB    = Op{Syntax: "dup v%d.16b, w%n", Base: 0x4e010c00}
	ZIP1    = Op{Syntax: "zip1 v%d.4s, v%n.4s, v%m.4s", Base: 0x4e803800}
	ZIP2    = Op{Syntax: "zip2 v%d.4s, v%n.4s, v%m.4s", Base: 0x4e807800}
	ZIP1D   = Op{Syntax: "zip1 v%d.2d, v%n.2d, v%m.2d", Base: 0x4ec03800}
	ZIP2D   = Op{Syntax: "zip2 v%d.2d, v%n.2d, v%m.2d", Base: 0x4ec07800}
	UZP1    = Op{Syntax: "uzp1 v%d.4s, v%n.4s, v%m.4s", Base: 0x4e801800}
	UZP2    = Op{Syntax: "uzp2 v%d.4s, v%n.4s, v%m.4s", Base: 0x4e805800}
	UZP1H   = Op{Syntax: "uzp1 v%d.8h, v%n.8h, v%m.8h", Base: 0x4e401800}
	UZP1B   = Op{Syntax: "uzp1 v%d.16b, v%n.16b, v%m.16b", Base: 0x4e001800}
	TBL     = Op{Syntax: "tbl v%d.16b, {v%n.16b}, v%m.16b", Base: 0x4e000000}
	FADDP   = Op{Syntax: "faddp v%d.4s, v%n.4s, v%m.4s", Base: 0x6e20d400}
	MOVZERO = Op{Syntax: "movi v%d.2d, #0", Base: 0x6f00e400}
)

// Ops are all instructions, for the tests.
var Ops = []Op{
	FADD, FSUB, FMUL, FDIV, FABS, FNEG, FMULI, FMAXNM, FMINNM, FCMGT, FCMGE, FCMEQ, FCMLT0,
	SCVTF, FCVTNS, FCVTL, FCVTL2, FCVTN, FCVTN2, SXTL8, SXTL8H, SXTL, SXTL2,
	ADD, SUB, ADDV, UMAX, UMAXV, SHL, USHR8, SDOT, SDOTI, USDOTI, SMMLA, USMMLA,
	AND, BIC, ORR, EOR, BIT, BIF,
	MOV, DUPW, DUP, DUP2D, DUPB, ZIP1, ZIP2, ZIP1D, ZIP2D, UZP1, UZP2, UZP1H, UZP1B, TBL, FADDP, MOVZERO,
}
