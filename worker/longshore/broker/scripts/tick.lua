-- Carry out one tick of a periodic entry: create its task and record the tick, or only record ticks given up.
--
-- KEYS[1] longshore:{<queue>}:periodic:<entry id>   hash, the tick record
-- KEYS[2] asynq:{<queue>}:t:<id>                    hash, the task; absent: only record
-- KEYS[3] asynq:{<queue>}:pending                   list
-- KEYS[4] the lock's key                            string; absent when the task has no lock
-- ARGV[1] last tick the decision was made on        Unix seconds; empty when there was none
-- ARGV[2] tick                                      Unix seconds; without a task, the newest of those given up
-- ARGV[3] ticks given up                            how many, between the two
-- ARGV[4] id
-- ARGV[5] msg                                       TaskMessage bytes
-- ARGV[6] now                                       Unix nanoseconds
-- ARGV[7] lifetime of the lock                      seconds, when there is one
-- ARGV[8] asynq:{<queue>}:t:                        prefix of the tasks' keys; empty: ticks may overlap
--
-- Reply: {result, last tick on record}
--         2 recorded, without a task as was asked
--         1 recorded, and the task created
--         0 recorded, no task: one of that id exists
--        -1 recorded, no task: the lock is held
--        -3 recorded, no task: the one of an earlier tick has not ended
--        -2 nothing written: the record is not the one the decision was made on, or not older than the tick
--
-- Atomic so that a tick creates at most one task, whichever and however many schedulers carry it out: of two, the
-- second finds a record that has moved on. A lease alone could not promise that: its holder may be stalled for longer
-- than it lasts and go on without knowing.
local last = redis.call("HGET", KEYS[1], "last_tick") or ""
if last ~= ARGV[1] or (last ~= "" and tonumber(last) >= tonumber(ARGV[2])) then
  return {-2, last}
end

local HAS_ENDED = {completed = true, archived = true}
local function has_not_ended(id)
  local state = id and redis.pcall("HGET", ARGV[8] .. id, "state")
  return type(state) == "string" and not HAS_ENDED[state]
end

local lock = KEYS[4]
local result = 2
if KEYS[2] then
  if redis.call("EXISTS", KEYS[2]) == 1 then
    result = 0
  elseif ARGV[8] ~= "" and has_not_ended(redis.call("HGET", KEYS[1], "last_task_id")) then
    result = -3
  elseif lock and redis.call("EXISTS", lock) == 1 then
    result = -1
  else
    result = 1
    -- The list first: a key of another type there must fail before anything is written.
    redis.call("LPUSH", KEYS[3], ARGV[4])
  end
end
redis.call("HSET", KEYS[1], "last_tick", ARGV[2])
if result == 1 then
  if lock then
    redis.call("SET", lock, ARGV[4], "EX", ARGV[7])
    redis.call("HSET", KEYS[2], "msg", ARGV[5], "state", "pending", "pending_since", ARGV[6], "unique_key", lock)
  else
    redis.call("HSET", KEYS[2], "msg", ARGV[5], "state", "pending", "pending_since", ARGV[6])
  end
  redis.call("HINCRBY", KEYS[1], "enqueued", 1)
elseif result < 1 then
  redis.call("HINCRBY", KEYS[1], "skipped", 1)
end
if result == 1 or result == 0 then -- it is this tick's, whoever created it
  redis.call("HSET", KEYS[1], "last_task_id", ARGV[4])
end
if ARGV[3] ~= "0" then
  redis.call("HINCRBY", KEYS[1], "missed", ARGV[3])
end
return {result, ARGV[2]}
