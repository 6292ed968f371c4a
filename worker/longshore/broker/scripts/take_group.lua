-- Move the members of a group that joined first into an aggregation set.
--
-- KEYS[1] asynq:{<queue>}:g:<group>            zset
-- KEYS[2] asynq:{<queue>}:g:<group>:<set id>   zset, new
-- KEYS[3] asynq:{<queue>}:aggregation_sets     zset
-- KEYS[4] asynq:{<queue>}:groups               set
-- ARGV[1] id that joined first                 as it was when the decision was made
-- ARGV[2] limit                                1 to 10000
-- ARGV[3] end                                  Unix seconds; a set not finished then goes back to the group
-- ARGV[4] group                                its name
--
-- Reply: {taken, left} or, when some are left, {taken, left, first id, when it joined, when the last one joined}.
--        taken is 0, and nothing was written, when another member is the first now: somebody else took the group.
--
-- Atomic so that a member is in the group or in one set, and that of two servers that found the group ready only one
-- takes it: the second would take members that have just joined.
local function state(taken)
  local left = redis.call("ZCARD", KEYS[1])
  if left == 0 then
    return {taken, 0}
  end
  local first = redis.call("ZRANGE", KEYS[1], 0, 0, "WITHSCORES")
  local last = redis.call("ZRANGE", KEYS[1], -1, -1, "WITHSCORES")
  return {taken, left, first[1], first[2], last[2]}
end

if redis.call("ZRANGE", KEYS[1], 0, 0)[1] ~= ARGV[1] then
  return state(0)
end
-- fail here, before anything is written, when one is of another type
redis.call("ZCARD", KEYS[2])
redis.call("ZCARD", KEYS[3])
redis.call("SCARD", KEYS[4])
local members = redis.call("ZRANGE", KEYS[1], 0, ARGV[2] - 1, "WITHSCORES")
local taken = #members / 2
for start = 1, taken, 1000 do
  local entries = {}
  for i = start, math.min(start + 999, taken) do
    entries[#entries + 1] = members[2 * i]
    entries[#entries + 1] = members[2 * i - 1]
  end
  redis.call("ZADD", KEYS[2], unpack(entries))
end
redis.call("ZADD", KEYS[3], ARGV[3], KEYS[2])
redis.call("ZREMRANGEBYRANK", KEYS[1], 0, taken - 1)
local reply = state(taken)
if reply[2] == 0 then
  redis.call("SREM", KEYS[4], ARGV[4])
end
return reply
