// Package trust decides who belongs to a cluster: its certificate authority, the nodes' keys and certificates, join tokens, and
// the messages by which a machine joins.
//
// A token of text never meets it: it stands at the door of every connection that tokens later travel on. A cluster's CA
// signs the certificates of its nodes; a join token names the CA, so that a new machine knows whom it talks to, and holds a
// secret, so that the cluster knows who asks. docs/security.md tells the whole story.
//
// Invariants:
//   - A node is its key: the id is a hash of the public key, and every certificate is checked for it. Neither name, address nor
//     issuer can give one node the id of another.
//   - Secrets stay where they are made. A node's private key never leaves its folder; a join token's secret is never sent, and what the cluster
//     keeps of it can check a proof but not make one.
//   - What comes from outside has stated limits and ends in one of the sentinel errors, whose text names the cause and the next step.
//   - No network and no clock: the caller passes bytes and the time.
//
// Values are immutable once made and may be shared between goroutines; a Folder belongs to one process. The package starts no goroutines.
package trust
