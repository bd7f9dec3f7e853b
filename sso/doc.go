// Package sso is the relying party of OpenID Connect (Core 1.0): it sends a person's browser to the
// provider of their organization, and checks what the provider says of them. It uses the authorization
// code flow with PKCE (RFC 7636) and a nonce.
//
// It keeps nothing of a log-in that is under way: the state that goes to the provider and back is
// sealed, as is the code that the product exchanges for a session, and every process of an
// installation has the key. A state is bound to the browser that began, a code to the page of the
// product that did: neither is of use to who reads or plants it elsewhere (RFC 9700, section 4).
//
// The providers are named by tenants, and are trusted with nothing but what they say of their own
// people. What is read of them is bounded in size and time, and they are dialled like the receivers
// of sinks.
package sso
