#!/usr/bin/env python3
"""Checks a bundle of evidence of Keytrail, or a proof:   verify.py FILE [VERIFIER-KEY...]

It is written from docs/audit.md, and shares nothing with keytrail audit verify. For Ed25519 it
needs Debian's python3-cryptography; other signatures count for nothing. It exits with 0, or names
the first position that is wrong and exits with 1. Without keys it takes those that the file names.
"""
import hashlib, json, re, struct, sys
from base64 import b64decode, b64encode
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

N, TEXT = rb"(0|[1-9][0-9]{0,17})", rb'"([^"\\\x00-\x1f]*)"'
SUBTREE = re.compile(rb'\{"subtree":\[' + N + rb"," + N + rb'\],"level":' + N + rb',"hashes":\[("[^]]*")\]\}')
EVENT = re.compile(rb'\{"event":' + N + rb',"id":' + TEXT + rb',"subject":' + TEXT + rb',"body":(.*)\}')
MESSAGE = re.compile(rb'\{"message":' + N + rb',"id":' + TEXT + rb',"subject":' + TEXT + rb',"count":' + N + rb',"root":' + TEXT + rb',"head":(.*)\}')
USE = re.compile(rb'\{"use":"' + N + rb"\." + N + rb'","salt":' + TEXT + rb'(?:,"path":\[("[^]]*")\])?,"line":(.*)\}')
PREVIOUS = re.compile(rb'.*,"previous":"([0-9]+)"', re.DOTALL)

class Wrong(Exception): pass

def demand(good, what):
    if not good: raise Wrong(what)

def unbase64(text):
    b = b64decode(text, validate=True)
    demand(b64encode(b) == text, "base64 is in another spelling")
    return b

def hashes_of(text):  # of a JSON array, without its brackets
    hashes = [unbase64(h) for h in text[1:-1].split(b'","')] if text else []
    demand(all(len(h) == 32 for h in hashes), "a hash has not 32 bytes")
    return hashes

def whose(keys): return "" if keys else "(but whose log it is, the keys that the file names do not tell)"
def payload(text): return unbase64(text[1:-1]) if text[:1] == b'"' else text
def leaf_hash(data): return hashlib.sha256(b"\0" + data).digest()
def node_hash(left, right): return hashlib.sha256(b"\1" + left + right).digest()

def use_hash(salt, line):
    demand(len(salt) == 16, "a salt has not 16 bytes")
    return leaf_hash(salt + line)

def root_of(hashes):  # of leaves, or of complete subtrees: one without a neighbour goes up as it is
    while len(hashes) > 1:
        hashes = [node_hash(*hashes[i:i + 2]) if i + 1 < len(hashes) else hashes[i] for i in range(0, len(hashes), 2)]
    return hashes[0]

def root_by_path(index, size, h, path):  # of an inclusion proof (RFC 9162, section 2.1.3.2)
    last = size - 1
    demand(0 <= index <= last, "the index is out of bounds")
    for sibling in path:
        demand(last > 0, "the path is too long")
        left = index & 1 or index == last
        h = node_hash(sibling, h) if left else node_hash(h, sibling)
        while left and index and not index & 1:
            index, last = index >> 1, last >> 1
        index, last = index >> 1, last >> 1
    demand(last == 0, "the path is too short")
    return h

def leaf(stream, position, id, subject, body):
    fields = (stream.encode(), b"%d" % position, id, subject, body)
    return leaf_hash(b"keytrail-leaf-v1\n" + b"".join(struct.pack(">I", len(f)) + f for f in fields))

def uses_leaf(position, id, subject, head, count, root): return leaf("uses", position, id, subject, b"%s\n%d\n%s" % (head, count, b64encode(root)))

def open_checkpoint(note, keys, stream):  # size and root, if one of the keys has signed it
    text, signatures = note.split("\n\n", 1)
    origin, size, root = text.split("\n")
    demand(origin.endswith("/" + stream), "a checkpoint is of another log: " + origin)
    known, signed = {}, False
    for name, id, key in (k.split("+", 2) for k in keys):
        raw = b64decode(key, validate=True)
        demand(hashlib.sha256(name.encode() + b"\n" + raw).hexdigest()[:8] == id, "a verifier key is broken")
        if raw[0] == 1 and name == origin: known[bytes.fromhex(id)] = Ed25519PublicKey.from_public_bytes(raw[1:])
    for _, name, encoded in (line.split(" ") for line in signatures.splitlines()):
        signature = b64decode(encoded, validate=True)
        if name == origin and signature[:4] in known:
            known[signature[:4]].verify(signature[4:], text.encode() + b"\n")
            signed = True
    demand(signed, f"no Ed25519 key that is trusted has signed the checkpoint of {stream}")
    return int(size), unbase64(root.encode())

class Section:
    """What a bundle has of one log. The stack has the subtrees whose hashes are known, the leftmost last."""

    def __init__(self, log, organization, keys):
        self.stream, self.organization, self.complete = log["stream"], organization, not organization
        self.size, root = open_checkpoint(log["checkpoint"], keys, self.stream)
        self.first, self.to, self.last = log["first"], log["last"], log["first"] - 1
        demand(1 <= self.first <= self.to + 1 and self.to <= self.size, "the positions are not those of the checkpoint")
        self.stack = [(0, self.size, root)] if self.size else []
        self.subjects = b"keytrail.events." + (self.organization + b"." if self.organization else b"")
        self.histories, self.message, self.leaves, self.uses = {}, None, 0, 0

    def demand(self, good, position, what): demand(good, f"{self.stream} position {position}: {what}")

    def read(self, line):
        if not line.startswith(b'{"use"'): self.end_message()
        kinds = ((SUBTREE, self.subtree), (EVENT, self.event) if self.stream == "events" else (MESSAGE, self.begin_message), (USE, self.use))
        for pattern, handle in kinds:
            if match := pattern.fullmatch(line): return handle(*match.groups())
        self.demand(False, self.last + 1, "a line is none that belongs here")

    def top(self, index):
        while self.stack and self.stack[-1][1] <= index: self.stack.pop()
        return self.stack[-1] if self.stack else None

    def subtree(self, start, end, level, hashes):
        start, end, level, hashes = int(start), int(end), int(level), hashes_of(hashes)
        starts = range(start, end, 1 << min(level, 63))
        self.demand(2 <= len(hashes) == len(starts) <= 256 and self.top(start) == (start, end, root_of(hashes)), self.last + 1, "the hashes here are not those that were signed")
        self.stack.pop()
        self.stack += [(s, min(end, s + (1 << level)), h) for s, h in zip(starts, hashes)][::-1]

    def leaf(self, position, h):
        self.demand(self.last < position <= self.to, position, "it comes again, or out of order")
        self.demand(not self.complete or position == self.last + 1, self.last + 1, "it is missing")
        self.demand(self.top(position - 1) == (position - 1, position, h), position, "what is here is not what was logged")
        self.last, self.leaves = position, self.leaves + 1

    def event(self, position, id, subject, body):
        position, body = int(position), payload(body)
        self.leaf(position, leaf("events", position, id, subject, body))
        self.demand(subject.startswith(self.subjects), position, "it is of another organization")
        found = PREVIOUS.match(body.partition(b',"data":')[0])
        previous, last = int(found[1]) if found else 0, self.histories.get(subject, 0)
        gap = previous != last and (last or previous >= self.first)
        self.demand(not gap, previous if last < previous < position else position, "a history has a gap here")
        self.histories[subject] = position

    def begin_message(self, position, id, subject, count, root, head):
        position, count, root = int(position), int(count), unbase64(root)
        self.leaf(position, uses_leaf(position, id, subject, payload(head), count, root))
        self.message, self.next, self.hashes = (position, count, root), 0, []

    def use(self, position, index, salt, path, line):
        position, index, salt, line = int(position), int(index), unbase64(salt), payload(line)
        self.demand(self.message and position == self.message[0] and self.next <= index < self.message[1], self.last, "a use is out of place")
        _, count, root = self.message
        self.next, self.uses, h = index + 1, self.uses + 1, use_hash(salt, line)
        if self.complete:
            self.demand(not path and index == len(self.hashes), position, "a use is missing")
            return self.hashes.append(h)
        self.demand(line.startswith(b'{"org":"%s"' % self.organization) and root_by_path(index, count, h, hashes_of(path)) == root, position, "a use is not what was logged")

    def end_message(self):
        if self.message and self.complete and self.message[1]:
            self.demand(len(self.hashes) == self.message[1] and root_of(self.hashes) == self.message[2], self.last, "its uses are not those that were logged")
        self.message = None

    def end(self):
        self.end_message()
        self.demand(not self.complete or self.last == self.to, self.last + 1, "it is missing")

def verify_bundle(file, keys):
    manifest = json.loads(file.readline(1 << 20))
    demand(manifest["format"] == "keytrail-bundle-v1", "the file is not a bundle of evidence")
    organization = manifest.get("organization", "").encode()
    sections = [Section(log, organization, keys or manifest["verifier_keys"]) for log in manifest["logs"]]
    demand([s.stream for s in sections] == ["events", "uses"], "the logs are not the two")
    left, section, line = sections[:], None, file.readline(1 << 20)
    while not line.startswith(b'{"end":'):
        where = f"{section.stream} position {section.last + 1}: " if section else ""
        demand(line.endswith(b"\n"), where + "the file is cut off here")
        if left and line == b'{"log":"%s"}\n' % left[0].stream.encode():
            if section: section.end()
            section = left.pop(0)
        else:
            demand(section, "no log has begun")
            section.read(line[:-1])
        line = file.readline(1 << 20)
    section.end()
    events, uses = sections
    counts = b'{"end":{"events":%d,"messages":%d,"uses":%d}}\n' % (events.leaves, uses.leaves, uses.uses)
    demand(not left and line == counts and not file.readline(1 << 20), "the end is not that of what came before")
    print("good:", events.leaves, "events,", uses.uses, "uses", whose(keys))

def verify_proof(proof, keys):
    stream, position, use, (head, note) = proof["stream"], proof["position"], proof.get("use"), proof["tlog_proof"].split("\n\n", 1)
    version, index, *path = head.split("\n")
    size, root = open_checkpoint(note, keys or proof["verifier_keys"], stream)
    demand((version, index) == ("c2sp.org/tlog-proof@v1", f"index {position - 1}"), "the proof is of another position")
    id, subject = proof["id"].encode(), proof["subject"].encode()
    if stream == "events":
        h = leaf(stream, position, id, subject, proof["body"].encode() if "body" in proof else b64decode(proof["body_base64"]))
    else:
        h, uses_root = use_hash(b64decode(use["salt"]), use["line"].encode()), b64decode(use["root"])
        demand(root_by_path(use["index"], use["count"], h, list(map(b64decode, use["path"]))) == uses_root, "the use is not what was logged")
        h = uses_leaf(position, id, subject, use["head"].encode(), use["count"], uses_root)
    demand(root_by_path(position - 1, size, h, list(map(b64decode, path))) == root, f"{stream} position {position}: it is not what was logged")
    print("good:", stream, position, whose(keys))
try:
    with open(sys.argv[1], "rb") as file:
        proof = b"keytrail-proof-v1" in file.read(128)
        file.seek(0)
        verify_proof(json.load(file), sys.argv[2:]) if proof else verify_bundle(file, sys.argv[2:])
except (Wrong, InvalidSignature, ValueError, KeyError, TypeError) as wrong:
    sys.exit(f"not good: {str(wrong) or type(wrong).__name__}")
