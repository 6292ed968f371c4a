-- trim_archive(archived, task_prefix, limits, now, cutoff, size, chunk): deletes what was archived at or before cutoff
-- (Unix seconds) and, of the rest, all but the newest size; at most chunk tasks for each of the two reasons, hashes
-- included, and the locks that they hold. limits: the key of the queue's own limits, which win over cutoff and size and
-- count what is deleted. Returns how many were. Needs lock_of.
local function delete_archived(archived, task_prefix, ids)
  if #ids == 0 then
    return 0
  end
  local queue_prefix = string.sub(task_prefix, 1, -3) -- without t:
  local keys = {}
  for i = 1, #ids do
    keys[i] = task_prefix .. ids[i]
    local fields = redis.pcall("HMGET", keys[i], "unique_key", "msg")
    local lock = lock_of(queue_prefix, fields[1], fields[2])
    if lock and redis.pcall("GET", lock) == ids[i] then
      redis.call("DEL", lock)
    end
  end
  redis.call("DEL", unpack(keys))
  redis.call("ZREM", archived, unpack(ids))
  return #ids
end

local function trim_archive(archived, task_prefix, limits, now, cutoff, size, chunk)
  local own = redis.pcall("HMGET", limits, "max_tasks", "max_age_s") -- of another type: as if there were none
  local max_tasks, max_age_s = tonumber(own[1]), tonumber(own[2])
  cutoff = max_age_s and now - max_age_s or cutoff
  size = max_tasks or size
  local old = redis.call("ZRANGEBYSCORE", archived, "-inf", cutoff, "LIMIT", 0, chunk)
  local deleted = delete_archived(archived, task_prefix, old)
  local surplus = math.min(redis.call("ZCARD", archived) - size, tonumber(chunk))
  if surplus > 0 then
    deleted = deleted + delete_archived(archived, task_prefix, redis.call("ZRANGE", archived, 0, surplus - 1))
  end
  if deleted > 0 and (max_tasks or max_age_s) then
    redis.pcall("HINCRBY", limits, "trimmed", deleted)
  end
  return deleted
end
