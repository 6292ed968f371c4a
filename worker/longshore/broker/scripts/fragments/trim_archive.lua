-- trim_archive(archived, task_prefix, cutoff, size, chunk): deletes what was archived at or before cutoff (Unix seconds)
-- and, of the rest, all but the newest size; at most chunk tasks for each of the two reasons, hashes included.
local function delete_archived(archived, task_prefix, ids)
  if #ids > 0 then
    local keys = {}
    for i = 1, #ids do
      keys[i] = task_prefix .. ids[i]
    end
    redis.call("DEL", unpack(keys))
    redis.call("ZREM", archived, unpack(ids))
  end
end

local function trim_archive(archived, task_prefix, cutoff, size, chunk)
  delete_archived(archived, task_prefix, redis.call("ZRANGEBYSCORE", archived, "-inf", cutoff, "LIMIT", 0, chunk))
  local surplus = math.min(redis.call("ZCARD", archived) - size, tonumber(chunk))
  if surplus > 0 then
    delete_archived(archived, task_prefix, redis.call("ZRANGE", archived, 0, surplus - 1))
  end
end
