-- Give up the lease of a scope's active scheduler.
--
-- KEYS[1] longshore:scheduler:<scope>   string
-- ARGV[1] holder                        <host>:<pid>:<uuid> of the caller
--
-- Reply: 1 it was the caller's, and is free
--        0 it was not; nothing was written
--
-- Atomic so that a scheduler that was slow to stop does not end its successor's lease.
local value = redis.call("GET", KEYS[1])
if value then
  local readable, lease = pcall(cjson.decode, value)
  if readable and type(lease) == "table" and lease["holder"] == ARGV[1] then
    return redis.call("DEL", KEYS[1])
  end
end
return 0
