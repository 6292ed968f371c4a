-- Take the lease of a scope's active scheduler, or renew it.
--
-- KEYS[1] longshore:scheduler:<scope>   string with a lifetime
-- ARGV[1] holder                        <host>:<pid>:<uuid> of the caller
-- ARGV[2] value                         JSON {"holder", "since"}, written when the lease is taken
-- ARGV[3] lifetime                      milliseconds
--
-- Reply: 1 the caller holds it, until the lifetime is over
--        0 another one does
--
-- Atomic so that of two callers one holds it, and that a renewal never takes it back from a successor.
local value = redis.call("GET", KEYS[1])
-- A lease without a lifetime would never pass on. No scheduler writes one; a hand at the console might.
if value and redis.call("PTTL", KEYS[1]) ~= -1 then
  local readable, lease = pcall(cjson.decode, value)
  if not readable or type(lease) ~= "table" or lease["holder"] ~= ARGV[1] then
    return 0
  end
  redis.call("PEXPIRE", KEYS[1], ARGV[3])
  return 1
end
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
return 1
