package collective

import "time"

// Traffic is what the links of a rank have carried since they were made.
type Traffic struct {
	BytesSent, BytesReceived   int64 // headers of frames included, those of packets not
	FramesSent, FramesReceived int64
	Sending                    time.Duration // in which the network took frames
	Waiting                    time.Duration // for frames of peers
}

// Minus is the traffic since an earlier look at the same links.
func (t Traffic) Minus(earlier Traffic) Traffic {
	return Traffic{
		t.BytesSent - earlier.BytesSent, t.BytesReceived - earlier.BytesReceived,
		t.FramesSent - earlier.FramesSent, t.FramesReceived - earlier.FramesReceived,
		t.Sending - earlier.Sending, t.Waiting - earlier.Waiting,
	}
}

// Plus is both together.
func (t Traffic) Plus(other Traffic) Traffic {
	return Traffic{
		t.BytesSent + other.BytesSent, t.BytesReceived + other.BytesReceived,
		t.FramesSent + other.FramesSent, t.FramesReceived + other.FramesReceived,
		t.Sending + other.Sending, t.Waiting + other.Waiting,
	}
}
