-- Give members of an aggregation set back to their group.
--
-- KEYS[1] asynq:{<queue>}:g:<group>:<set id>   zset
-- KEYS[2] asynq:{<queue>}:g:<group>            zset
-- KEYS[3] asynq:{<queue>}:aggregation_sets     zset
-- KEYS[4] asynq:{<queue>}:groups               set
-- ARGV[1] now                                  Unix seconds: only when the set's time is over; "" for at any time
-- ARGV[2] group                                its name
-- ARGV[3] limit                                1 to 1000
--
-- Reply: how many went back. When it is the limit there may be more: call again. -1: the set is finished, was given back
--        already, or has time left.
--
-- Atomic so that a member is in the set or in the group. The set cannot be finished any more from the first call on:
-- its size is not what its owner knows. Unlike Asynq's, the group is put back on the list of groups, which is the only
-- way aggregators find it; and a call moves no more than the limit.
local ends_at = redis.call("ZSCORE", KEYS[3], KEYS[1])
if not ends_at or (ARGV[1] ~= "" and tonumber(ends_at) > tonumber(ARGV[1])) then
  return -1
end
-- fail here, before anything is written, when one is of another type
redis.call("ZCARD", KEYS[2])
redis.call("SCARD", KEYS[4])
if redis.call("TYPE", KEYS[1]).ok ~= "zset" then
  redis.call("ZREM", KEYS[3], KEYS[1]) -- nothing there, or nothing of ours
  return 0
end
local members = redis.call("ZRANGE", KEYS[1], 0, ARGV[3] - 1, "WITHSCORES")
local entries = {}
for i = 1, #members, 2 do
  entries[i] = members[i + 1]
  entries[i + 1] = members[i]
end
redis.call("ZADD", KEYS[2], unpack(entries))
redis.call("ZREMRANGEBYRANK", KEYS[1], 0, #members / 2 - 1)
redis.call("SADD", KEYS[4], ARGV[2])
if redis.call("EXISTS", KEYS[1]) == 0 then
  redis.call("ZREM", KEYS[3], KEYS[1])
end
return #members / 2
