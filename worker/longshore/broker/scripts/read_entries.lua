-- Read the periodic entries of a scope, unless they are as the caller knows them.
--
-- KEYS[1] longshore:periodic:<scope>   hash: name → entry
-- ARGV[1] digest                       of what the caller knows; "" for nothing
--
-- Reply: {digest} when it is the caller's; otherwise {digest, name, entry, name, entry, …}. The digest of no entries is "".
--        Nothing is written.
--
-- A script, because both readers look every second at what changes once in a long while: the entries are not sent then.
-- The digest is made of the entries themselves, not counted up by their writers, so that whatever is lost or edited by
-- hand is seen, too.
local entries = redis.call("HGETALL", KEYS[1])
local digest = ""
if #entries > 0 then
  digest = redis.sha1hex(cmsgpack.pack(entries))
end
if digest == ARGV[1] then
  return {digest}
end
table.insert(entries, 1, digest)
return entries
