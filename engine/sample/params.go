package sample

// Params is how one sequence's next token is chosen. The zero value is greedy.
type Params struct {
	Temperature float32 // 0 is greedy
	TopK        int     // 0 is off
	TopP        float32 // 0 or 1 is off
	MinP        float32 // 0 is off; relative to the most likely token's probability

	RepetitionPenalty float32 // 0 or 1 is off; over prompt and output (Keskar et al. 2019)
	PresencePenalty   float32 // over output, once per token seen
	FrequencyPenalty  float32 // over output, times the count

	Bias   []Bias // added to single logits
	Banned []int32
	Seed   uint64 // with the position, the only source of randomness
}

// Bias is added to one token's logit.
type Bias struct {
	Token int32
	Value float32
}

// Candidate is a token and its score: a logit, or a log-probability where the name says so.
type Candidate struct {
	Token int32
	Score float32
}
