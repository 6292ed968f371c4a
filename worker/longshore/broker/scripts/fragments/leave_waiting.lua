-- leave_waiting(id, state, group, prefix, groups): takes a task that is not active out of the container that its state
-- names. prefix: asynq:{<queue>}:; groups: the key of the set of groups, which forgets one that is empty now.
-- Returns 1, -3 when the task is not there, or -4 when it is in no group: it is being aggregated. Then nothing is written.
local function leave_waiting(id, state, group, prefix, groups)
  if state == "pending" then
    return redis.call("LREM", prefix .. state, 0, id) == 0 and -3 or 1
  elseif state ~= "aggregating" then
    return redis.call("ZREM", prefix .. state, id) == 0 and -3 or 1
  end
  local key = prefix .. "g:" .. (group or "")
  if redis.call("ZREM", key, id) == 0 then
    return -4
  end
  if redis.call("ZCARD", key) == 0 then
    redis.call("SREM", groups, group)
  end
  return 1
end
