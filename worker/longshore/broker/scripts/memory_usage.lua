-- Estimate the memory of a queue's tasks.
--
-- KEYS[1…6] asynq:{<queue>}:active, :pending        lists
--           :scheduled, :retry, :archived, :completed   zsets
-- KEYS[7]   asynq:{<queue>}:groups                  set
-- ARGV[1]   samples                                 tasks measured of each container
-- ARGV[2]   asynq:{<queue>}:t:                      prefix of the tasks' keys
-- ARGV[3]   asynq:{<queue>}:g:                      prefix of the groups' keys
-- ARGV[4]   groups                                  at most so many are looked at
--
-- Reply: bytes: of the containers, and the mean of the measured tasks times their number. Nothing is written.
--
-- Atomic so that no task is counted twice. An id without a hash counts as nothing, as does a group without tasks: up to
-- Asynq 0.26 the one makes its estimate fail, the other makes it negative.
local bytes = 0

local function add(key, count, ids)
  bytes = bytes + (redis.call("MEMORY", "USAGE", key) or 0)
  local measured, sum = 0, 0
  for i = 1, #ids do
    local usage = redis.call("MEMORY", "USAGE", ARGV[2] .. ids[i])
    if usage then
      measured, sum = measured + 1, sum + usage
    end
  end
  if measured > 0 then
    bytes = bytes + sum / measured * count
  end
end

for i = 1, 2 do
  add(KEYS[i], redis.call("LLEN", KEYS[i]), redis.call("LRANGE", KEYS[i], 0, ARGV[1] - 1))
end
for i = 3, 6 do
  add(KEYS[i], redis.call("ZCARD", KEYS[i]), redis.call("ZRANGE", KEYS[i], 0, ARGV[1] - 1))
end
local names = redis.call("SRANDMEMBER", KEYS[7], ARGV[4])
local before = bytes
for i = 1, #names do
  local key = ARGV[3] .. names[i]
  if redis.call("TYPE", key).ok == "zset" then
    add(key, redis.call("ZCARD", key), redis.call("ZRANGE", key, 0, ARGV[1] - 1))
  end
end
if #names > 0 then
  bytes = before + (bytes - before) / #names * redis.call("SCARD", KEYS[7])
end
return math.floor(bytes)
